"""Runs the probes: each scope on its own schedule, and at once when something asks for it.

Never two looks at one scope at the same time, and only so many at the scopes of one probe; of these
the one that is due for longest comes first. After its second look each scope has a phase of its
own, so that a thousand scopes are spread over the interval, unless they are read in one piece. A
failure is the scope's own: what was there and cannot be seen now is *failed*, not absent; what may
not be seen is neither, and says which right is missing.
"""

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from storewatchd.clock import Clock
from storewatchd.core.frames import Frame, ObjectKind, Outcome, Scope
from storewatchd.core.model import Instant, format_time
from storewatchd.core.sight import DISCOVERY, Age, Sight, told_scopes
from storewatchd.errors import (
    NotFound,
    ProbeAbsent,
    ProbeDeferred,
    ProbeError,
    ProbeFailed,
    ReadRefused,
    ReadStuck,
)
from storewatchd.port import Port
from storewatchd.probes.base import Forgetting, Probe, Together

logger = logging.getLogger(__name__)

SECOND_LOOK_S = 1.0

TOUCH_EVERY_S = 1.0
"""How soon after a look the next one begins because something has changed."""

MAX_LOOKS = 16
"""How many scopes of one probe are looked at at the same time."""

# Its multiples, modulo 1, are spread evenly, however many there are (the golden ratio).
_SPREAD = (5**0.5 - 1) / 2

_MISSING_RIGHTS = {
    errno.EACCES: "the reader lacks CAP_DAC_READ_SEARCH; where it is root, the file system itself "
    "refuses: FUSE without allow_other, NFS with root_squash",
    errno.EPERM: "the reader lacks a capability such as CAP_SYS_ADMIN, or a sandbox or a security "
    "module forbids it",
}

T = TypeVar("T")

Feed = Callable[[Frame], Awaitable[None]]
Expect = Callable[[str, tuple[Scope, ...]], Awaitable[None]]


@dataclass(slots=True)
class _Look:
    """When a scope is looked at next, and how well it could be seen."""

    scope: Scope
    sight: Sight
    due: float  # by the schedule, monotonic
    share: float = 1.0  # of the interval, from the second look to the third
    begun: int = 0  # how many looks of the schedule
    asked: bool = False  # for a look beside the schedule; while one runs, for one after it
    last_begun: float = float("-inf")  # monotonic
    touched_due: float = float("inf")  # when a look is due because something has changed
    running: bool = False
    rows: int = 0
    waiters: list["asyncio.Future[None]"] = field(default_factory=list)  # for the end of this look
    later: list["asyncio.Future[None]"] = field(default_factory=list)  # for the end of the next one

    @property
    def next_due(self) -> float:
        return min(self.due, self.touched_due)

    def is_due(self, now: float) -> bool:
        return not self.running and (self.asked or self.next_due <= now)

    def touch(self, now: float, every_s: float) -> None:
        """Be due because something has changed: at once, or so long after the last look began."""
        self.touched_due = min(self.touched_due, max(now, self.last_begun + every_s))


class Collector:
    """The probes of this node. `feed` and `expect` hand over to the monitor; `forget_reads` is told
    before a look that is asked for, which is to see what is so by now."""

    def __init__(
        self,
        probes: Iterable[Probe],
        port: Port,
        clock: Clock,
        *,
        interval_s: float,
        feed: Feed,
        expect: Expect,
        forget_reads: Callable[[], None] = lambda: None,
    ) -> None:
        self._probes = {probe.name: probe for probe in probes}
        self._port = port
        self._clock = clock
        self.interval_s = interval_s
        """How often every scope is looked at."""
        self._feed = feed
        self._expect = expect
        self._forget_reads = forget_reads
        self._looks: dict[Scope, _Look] = {}
        self._by_probe: dict[str, dict[Scope, _Look]] = {name: {} for name in self._probes}
        self._discoveries = {
            name: self._fresh(Scope(DISCOVERY, (("probe", name),))) for name in self._probes
        }
        self._found = dict.fromkeys(self._probes, 0)  # how many scopes of a probe, ever
        self._told: tuple[Scope | str, ...] | None = None  # scopes, and probes that have none yet
        self._wake = asyncio.Event()

    def set_interval(self, interval_s: float) -> None:
        """Change how often every scope is looked at, from the next look on."""
        self.interval_s = interval_s

    async def run(self) -> None:
        """Look until cancelled."""
        await self._tell_scopes()
        async with asyncio.TaskGroup() as tasks:
            while True:
                now = self._clock.monotonic()
                for name, discovery in self._discoveries.items():
                    if discovery.is_due(now):
                        self._begin(discovery, now)
                        tasks.create_task(self._discover(name, discovery))
                for look in self._next_looks(now):
                    self._begin(look, now)
                    tasks.create_task(self._collect(look))
                await self._until_next(now)

    def trigger(self, probe: str) -> None:
        """Ask for a discovery and a look at every scope of a probe, now.

        Raises:
            NotFound: there is no such probe.
        """
        self.rediscover(probe)
        for look in self._of(probe):
            look.asked = True

    def touch(self, probe: str, *, every_s: float = TOUCH_EVERY_S) -> None:
        """Have a probe look, also for what is new, because something that it looks at has changed:
        at once, but so long after the look before at the earliest. Of a probe that is not there
        nothing is looked at."""
        if probe not in self._probes:
            return
        self._forget_reads()
        now = self._clock.monotonic()
        for look in (self._discoveries[probe], *self._of(probe)):
            look.touch(now, every_s)
        self._wake.set()

    def rediscover(self, probe: str) -> None:
        """Ask for a discovery of a probe, now: what is new is looked at, what is gone is not.

        Raises:
            NotFound: there is no such probe.
        """
        self.check_known(probe)
        self._forget_reads()
        self._discoveries[probe].asked = True
        self._wake.set()

    def check_known(self, probe: str) -> None:
        """Refuse a name that is no probe's.

        Raises:
            NotFound: there is no such probe.
        """
        if probe not in self._probes:
            raise NotFound(f"there is no probe {probe!r}; there are {', '.join(self._probes)}")

    def forget(self, kind: ObjectKind, object_id: str) -> None:
        """Let every probe forget an object that it remembers, and find anew what there is."""
        for name, probe in self._probes.items():
            if isinstance(probe, Forgetting) and probe.forget(kind, object_id):
                self.rediscover(name)

    def trigger_all(self) -> None:
        """Ask for a look at everything, now."""
        for probe in self._probes:
            self.trigger(probe)

    async def run_now(self, probe: str) -> None:
        """Look at every scope of a probe, and return when all these looks have ended.

        Raises:
            NotFound: there is no such probe.
        """
        self.trigger(probe)
        await self._next_end(self._discoveries[probe])
        # The discovery makes new scopes due; those that were known are due already.
        now = self._clock.monotonic()
        waits = [
            self._next_end(look) for look in self._of(probe) if look.running or look.is_due(now)
        ]
        if waits:
            await asyncio.gather(*waits)

    async def look_at(self, scope: Scope) -> None:
        """Look at one scope, which a discovery may have to find first; return when that has
        ended. What is no scope is not waited for.

        Raises:
            NotFound: there is no such probe.
        """
        self.rediscover(scope.probe)
        await self._next_end(self._discoveries[scope.probe])
        look = self._looks.get(scope)
        if look is None:
            return
        if not (look.running or look.is_due(self._clock.monotonic())):
            look.asked = True
            self._wake.set()
        await self._next_end(look)

    def statuses(self, probe: str | None = None) -> list[dict[str, Any]]:
        """Return how every scope was last looked at, in the wire shape."""
        names = self._discoveries if probe is None else {probe} & self._discoveries.keys()
        return [self._status(name, look) for name in names for look in self._shown(name)]

    def sights(self) -> list[Sight]:
        """Return how well everything can be seen that `statuses` tells of."""
        return [look.sight for name in self._discoveries for look in self._shown(name)]

    def ages(self) -> list[Age]:
        """Return how old what is known of every scope is."""
        now = self._clock.now()
        return [look.sight.age(now) for look in self._every_look()]

    def blind(self) -> list[tuple[str, str]]:
        """Return the probe and scope of all that cannot be seen any more."""
        return [look.sight.labels for look in self._every_look() if look.sight.is_blind]

    # One look.

    def _fresh(self, scope: Scope, share: float = 1.0) -> _Look:
        now = self._clock.now()
        return _Look(scope, Sight(scope, now.awake), now.monotonic, share)

    def _begin(self, look: _Look, now: float) -> None:
        look.running, look.asked = True, False
        look.last_begun, look.touched_due = now, float("inf")
        if look.due > now:
            return  # beside the schedule, which stays as it is
        look.begun += 1
        if look.begun == 1:
            # What tells a rate needs two looks: the second one comes soon.
            look.due = now + min(SECOND_LOOK_S, self.interval_s)
        elif look.begun == 2:
            look.due = now + look.share * self.interval_s
        else:
            # Schedules keep their phase: a late look does not delay the next one.
            missed = (now - look.due) // self.interval_s
            look.due += (missed + 1) * self.interval_s

    def _end(self, look: _Look) -> None:
        look.running = False
        _let_go(look.waiters)
        look.waiters, look.later = look.later, []
        self._wake.set()

    async def _discover(self, name: str, discovery: _Look) -> None:
        began = self._clock.monotonic()
        try:
            scopes = await _asked(self._probes[name].discover(self._port), discovery)
        except ProbeError as error:
            # Nothing is forgotten: the scopes that were known are still looked at.
            self._note(discovery, Outcome.FAILED, error, began)
            await self._tell_of(discovery, self._clock.now())
            self._end(discovery)
            return
        self._note(discovery, Outcome.SEEN, None, began)
        probe, wanted = self._probes[name], frozenset(scopes)
        is_together = isinstance(probe, Together) and probe.looks_together
        for look in self._of(name):
            if look.scope not in wanted:
                del self._looks[look.scope], self._by_probe[name][look.scope]
                _let_go([*look.waiters, *look.later])
        await self._expect(name, scopes)
        for scope in scopes:
            if scope not in self._looks:
                share = 1.0 if is_together else 1 - self._found[name] * _SPREAD % 1
                fresh = self._fresh(scope, share)
                self._looks[scope] = self._by_probe[name][scope] = fresh
                self._found[name] += 1
        await self._tell_scopes()
        await self._tell_of(discovery, self._clock.now())
        self._end(discovery)

    async def _collect(self, look: _Look) -> None:
        began = self._clock.monotonic()
        probe = self._probes[look.scope.probe]
        frame: Frame
        try:
            frame = await _asked(probe.collect(self._port, look.scope), look)
            self._note(look, Outcome.SEEN, None, began)
            look.rows = sum(map(len, frame.rows.values()))
        except ProbeError as error:
            if (
                isinstance(error, ProbeAbsent)
                and look.sight.last_seen
                and await self._is_gone(look)
            ):
                self._end(look)
                return
            outcome = self._outcome_of(look, error)
            self._note(look, outcome, error, began)
            frame = Frame(look.scope, 0.0, outcome, reason=look.sight.reason)
        # A scope that is gone, or came back meanwhile, is not what was looked at.
        if self._looks.get(look.scope) is look:
            now = self._clock.now()
            duration_s = look.sight.duration_s or 0.0
            await self._feed(
                replace(frame, at=now.wall, duration_s=duration_s, monotonic=now.monotonic)
            )
            await self._tell_of(look, now)
            if self._looks.get(look.scope) is not look:
                self._told = None  # it went while that was handed in: it is told of no more
        self._end(look)

    async def _is_gone(self, look: _Look) -> bool:
        """Return whether a scope is none any more: a discovery tells."""
        discovery = self._discoveries[look.scope.probe]
        self.rediscover(look.scope.probe)
        await self._next_end(discovery)
        return self._looks.get(look.scope) is not look

    @staticmethod
    def _outcome_of(look: _Look, error: ProbeError) -> Outcome:
        if isinstance(error, ProbeDeferred):
            return Outcome.DEFERRED
        if isinstance(error, ProbeAbsent) and look.sight.last_seen is None:
            return Outcome.ABSENT
        return Outcome.FAILED

    def _note(self, look: _Look, outcome: Outcome, error: ProbeError | None, began: float) -> None:
        before, now = look.sight.outcome, self._clock.now()
        look.sight.note(
            outcome,
            now,
            reason=_words(error),
            duration_s=now.monotonic - began,
            stuck=(error.key, error.since) if isinstance(error, ReadStuck) else None,
        )
        if outcome is Outcome.FAILED and before is not Outcome.FAILED:
            logger.warning("%s cannot be looked at: %s", look.scope, look.sight.reason)
        elif outcome is Outcome.SEEN and before is Outcome.FAILED:
            logger.info("%s can be looked at again", look.scope)

    # What is told of the looks.

    def last_run(self, probes: Iterable[str]) -> float | None:
        """Return when any of these probes last looked, or looked for what there is to look at; None
        where none has. One that is disabled never does."""
        looks = (
            look
            for name in probes
            if name in self._probes
            for look in (self._discoveries[name], *self._of(name))
        )
        return max((at for one in looks if (at := one.sight.last_run) is not None), default=None)

    async def _tell_scopes(self) -> None:
        """Say of which looks something will be told; of a probe that has found nothing yet, that
        nobody knows."""
        unknown = [name for name, one in self._discoveries.items() if one.sight.last_seen is None]
        told: tuple[Scope | str, ...] = (*self._looks, *unknown)
        if told == self._told:
            return
        sights = [look.sight for look in self._every_look()]
        for probe, scopes in told_scopes(sights, unknown):
            await self._expect(probe, scopes)
        self._told = told

    async def _tell_of(self, look: _Look, now: Instant) -> None:
        for frame in look.sight.frames(now):
            await self._feed(frame)

    def _shown(self, probe: str) -> list[_Look]:
        """Return the looks at a probe's scopes, and its discovery where that is what fails."""
        looks, discovery = self._of(probe), self._discoveries[probe]
        if not looks or discovery.sight.outcome is Outcome.FAILED:
            return [discovery, *looks]
        return looks

    def _every_look(self) -> Iterator[_Look]:
        yield from self._discoveries.values()
        yield from self._looks.values()

    # Schedule.

    def _of(self, probe: str) -> list[_Look]:
        return [*self._by_probe[probe].values()]

    def _next_looks(self, now: float) -> list[_Look]:
        """Return the looks to begin now."""
        room = dict.fromkeys(self._probes, MAX_LOOKS)
        begin, due = [], []
        # Of thousands of looks, at every turn: without a call for each.
        for look in self._looks.values():
            if look.running:
                room[look.scope.probe] -= 1
            elif look.asked or look.due <= now or look.touched_due <= now:
                due.append(look)
        for look in sorted(due, key=lambda look: look.due):
            if room[look.scope.probe]:
                room[look.scope.probe] -= 1
                begin.append(look)
        return begin

    def _next_end(self, look: _Look) -> "asyncio.Future[None]":
        """Return what is done at the end of the look that was asked for last."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        (look.later if look.running and look.asked else look.waiters).append(waiter)
        return waiter

    async def _until_next(self, now: float) -> None:
        """Wait until something is due that was not, or for the end of a look: what is due
        already waits for room."""
        self._wake.clear()
        looks = (*self._discoveries.values(), *self._looks.values())
        due = min(
            (
                when
                for one in looks
                if not one.running
                for when in (one.due if one.due < one.touched_due else one.touched_due,)
                if when > now
            ),
            default=None,
        )
        try:
            wait_s = None if due is None else max(0.0, due - self._clock.monotonic())
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        except TimeoutError:
            return

    def _status(self, probe: str, look: _Look) -> dict[str, Any]:
        return {
            "probe": probe,
            "scope": {} if look.scope.probe == DISCOVERY else dict(look.scope.labels),
            "outcome": "pending" if look.sight.outcome is None else look.sight.outcome.value,
            "reason": look.sight.reason,
            "last_run": format_time(look.sight.last_run),
            "last_seen": format_time(look.sight.last_seen),
            "duration_seconds": look.sight.duration_s,
            "interval_seconds": self.interval_s,
            "stuck_since": format_time(look.sight.stuck_since),
            "rows": look.rows,
        }


async def _asked(answer: Coroutine[Any, Any, T], look: _Look) -> T:
    """Return what a probe answers.

    Raises:
        ProbeError: it did not answer, whatever the reason; a fault of its own is logged once.
    """
    try:
        return await answer
    except ProbeError:
        raise
    except Exception as error:
        if look.sight.outcome is not Outcome.FAILED:
            logger.exception("%s: the probe is at fault", look.scope)
        raise ProbeFailed(f"the probe is at fault: {error!r}") from error


def _words(error: ProbeError | None) -> str:
    """Return why a look did not see, in words: a right that is missing is named."""
    if error is None:
        return ""
    missing = _MISSING_RIGHTS.get(error.errno) if isinstance(error, ReadRefused) else None
    return error.reason if missing is None else f"{error.reason} ({missing})"


def _let_go(waiters: Iterable["asyncio.Future[None]"]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
