"""The open alerts of this node, and what becomes of them: pure decisions, nothing written.

An incident is one alert from its first sight to its end, with what is needed to go on after a
restart. What changed in a batch is collected for the journal; lists show an alert only after that.

A rule's alert that a person resolved while its condition still holds stays resolved: its key is
*quieted* until the condition has been false once.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from storewatchd.core.commands import CreateAlert
from storewatchd.core.model import Alert, AlertState, Instant, Transition, to_milliseconds
from storewatchd.errors import LimitReached, NotFound

MAX_CREATED = 50_000
"""How many alerts that people and programs created may be open."""

MAX_OF_RULE = 10_000
"""How many alerts of one rule may be: one that fits too much must not crowd out the others."""

BY_RULE = "rule"
EXPIRED = "expired"
RESTORED = "restored"

_SHOWN = (
    *("severity", "source", "title", "message", "resource_type", "resource_id", "labels"),
    "annotations",
)
_MARKS = ("acknowledged_by", "acknowledged_at", "acknowledged_note")


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """An open alert and its timers. They run on the clock that stands still while the machine is
    suspended, for nobody could look then; `expires` runs on the monotonic clock.

    `series` are the labels of the row that the rule saw, before the rule added its own.
    """

    alert: Alert
    key: str
    series: Mapping[str, str] = msgspec.field(default_factory=dict)
    since: float = 0.0  # when its condition began to hold, less the time it was frozen
    frozen_since: float | None = None  # set while its inputs cannot be seen
    quiet_since: float | None = None  # set while it only fires because of keep_firing_for
    expires: float | None = None  # when it ends unless it is created again
    # What its texts were made of and when, awake: a firing alert says what is so now. Not kept over
    # a restart, after which they are made anew.
    told: float | None = None
    told_at: float | None = None

    @property
    def has_timer(self) -> bool:
        """Whether something becomes of it by the passing of time."""
        timers = (self.frozen_since, self.quiet_since, self.expires)
        return self.alert.state is AlertState.PENDING or any(one is not None for one in timers)

    def later(self, seconds: float) -> "Incident":
        """Return the incident with its timers so much behind: that time does not count."""
        quiet_since = None if self.quiet_since is None else self.quiet_since + seconds
        return replace(self, since=self.since + seconds, quiet_since=quiet_since)

    def to_state(self, now: Instant) -> dict[str, Any]:
        """Return what the journal keeps: timers as wall clock times, and when that was."""

        def wall(moment: float | None, clock: float) -> float | None:
            return None if moment is None else now.wall + (moment - clock)

        return {
            "alert": self.alert.to_json(),
            "key": self.key,
            "series": dict(self.series),
            "since": wall(self.since, now.awake),
            "frozen_since": wall(self.frozen_since, now.awake),
            "quiet_since": wall(self.quiet_since, now.awake),
            "expires": wall(self.expires, now.monotonic),
            "written": now.wall,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any], now: Instant) -> "Incident":
        """Return the incident as it stood when that was written: nobody could look since, and it
        runs on from now. Only what expires does so by the wall clock."""

        written: float = state.get("written", now.wall)

        def past(moment: float) -> float:
            return now.awake - (written - moment)

        frozen, quiet, expires = state["frozen_since"], state["quiet_since"], state["expires"]
        return cls(
            alert=Alert.from_json(state["alert"]),
            key=state["key"],
            series=state["series"],
            since=past(state["since"]),
            frozen_since=None if frozen is None else past(frozen),
            quiet_since=None if quiet is None else past(quiet),
            expires=None if expires is None else now.monotonic + (expires - now.wall),
        )


class Quieted(msgspec.Struct, frozen=True):
    """A key whose alert a person resolved while its condition held."""

    key: str
    rule: str
    alert_id: str
    series: Mapping[str, str]

    def to_state(self) -> dict[str, Any]:
        """Return what the journal keeps."""
        return {
            "quieted": self.key,
            "rule": self.rule,
            "id": self.alert_id,
            "series": dict(self.series),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Quieted":
        return cls(state["quieted"], state["rule"], state["id"], state.get("series", {}))


class Incidents:
    """The book of open incidents by key and by id. `new_id` makes time-ordered ids."""

    def __init__(self, node: str, new_id: Callable[[float], str]) -> None:
        self._node = node
        self._new_id = new_id
        self._open: dict[str, Incident] = {}
        self._key_of: dict[str, str] = {}
        self._of_rule: dict[str, dict[str, None]] = {}  # keys in the order of their opening
        self._quieted: dict[str, Quieted] = {}
        self._changed: dict[str, dict[str, Any] | None] = {}

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Incident]:
        return iter(self._open.values())

    # State that outlives a restart.

    def restore(self, states: Iterable[Mapping[str, Any]], now: Instant) -> None:
        """Take over what `take_changes` gave before a restart."""
        for state in states:
            if "quieted" in state:
                self._quieted[state["quieted"]] = Quieted.from_state(state)
            else:
                self._hold(Incident.from_state(state, now))

    def take_changes(self) -> dict[str, dict[str, Any] | None]:
        """Return what the journal has to keep by alert id, None for what it may drop."""
        changed, self._changed = self._changed, {}
        return changed

    def dump(self) -> dict[str, Any]:
        """Return the book's values as they are, for `load`."""
        return {"open": dict(self._open), "quieted": dict(self._quieted)}

    def load(self, told: Mapping[str, Any]) -> None:
        """Take over what `dump` gave."""
        for incident in told["open"].values():
            self._hold(incident)
        self._quieted.update(told["quieted"])

    # What people and programs do.

    def create(self, command: CreateAlert, now: Instant) -> tuple[Alert, Transition]:
        """Open an alert, or count it again where one with the same key is open.

        Raises:
            LimitReached: so many are open that there is no room for another one.
        """
        key = f"key:{command.key}" if command.key is not None else ""
        known = self._open.get(key)
        expires = None if command.ttl_s is None else now.monotonic + command.ttl_s
        wall = to_milliseconds(now.wall)
        reason = {"actor": command.actor, "key": command.key, "ttl_seconds": command.ttl_s}
        shown = {
            "severity": command.severity,
            "source": command.source,
            "title": command.title,
            "message": command.message,
            "resource_type": command.resource_type,
            "resource_id": command.resource_id,
            "labels": dict(command.labels),
            "annotations": dict(command.annotations),
        }
        if known is not None:
            alert = known.alert.with_changes(
                last_seen=wall, occurrences=known.alert.occurrences + 1, **shown
            )
            self._put(replace(known, alert=alert, expires=expires), now)
            return alert, Transition("repeated", alert, reason)
        if len(self._of_rule.get("", ())) >= MAX_CREATED:
            raise LimitReached(f"{MAX_CREATED} created alerts are open already: resolve some")
        alert_id = self._new_id(now.wall)
        alert = Alert(
            id=alert_id,
            rule="",
            state=AlertState.FIRING,
            first_seen=wall,
            last_seen=wall,
            node=self._node,
            **shown,  # type: ignore[arg-type]  # the values are those of the fields named
        )
        incident = Incident(
            alert=alert, key=key or f"id:{alert_id}", since=now.awake, expires=expires
        )
        self._put(incident, now)
        return alert, Transition("firing", alert, reason)

    def acknowledge(
        self, alert_id: str, actor: str, note: str | None, now: Instant
    ) -> tuple[Alert, Transition | None]:
        """Mark an open alert as seen by somebody; a repeat changes nothing.

        Raises:
            NotFound: no open alert has this id.
        """
        incident = self.get(alert_id)
        if incident.alert.acknowledged:
            return incident.alert, None
        alert = incident.alert.with_changes(
            acknowledged_by=actor,
            acknowledged_at=to_milliseconds(now.wall),
            acknowledged_note=note,
        )
        self._put(replace(incident, alert=alert), now)
        return alert, Transition("acknowledged", alert, {"actor": actor, "note": note})

    def resolve(
        self, alert_id: str, actor: str, note: str | None, now: Instant
    ) -> tuple[Alert, Transition]:
        """End an open alert by hand.

        Raises:
            NotFound: no open alert has this id.
        """
        incident = self.get(alert_id)
        reason = {"actor": actor, "note": note}
        transition = self.close(incident, now, by=actor, reason=reason)
        if incident.alert.rule:
            quieted = Quieted(incident.key, incident.alert.rule, alert_id, incident.series)
            self._quieted[incident.key] = quieted
            self._changed[alert_id] = quieted.to_state()
        return transition.alert, transition

    def expire(self, now: Instant) -> list[Transition]:
        """End what was not created again in its time to live."""
        late = [
            incident
            for incident in self._open.values()
            if incident.expires is not None and incident.expires <= now.monotonic
        ]
        return [
            self.close(incident, now, by=EXPIRED, reason={"why": "not reported again in time"})
            for incident in late
        ]

    def take_back(self, lost: Incident, now: Instant) -> list[Transition]:
        """Open an incident again that was lost, unless this version of it is known.

        A rule's alert is stale until its inputs have been seen. Where another one was opened for
        the same meanwhile, that ends, and what it says and its marks go on with the older one.
        """
        known = self._key_of.get(lost.alert.id)
        if known is not None and self._open[known].alert.version >= lost.alert.version:
            return []
        transitions = []
        alert, expires = lost.alert, lost.expires
        newer = self._open.get(lost.key)
        if newer is not None and newer.alert.id != alert.id:
            why = {"why": "it goes on as an alert that was lost for a while", "id": alert.id}
            transitions.append(self.close(newer, now, by=RESTORED, reason=why))
            alert, expires = _with_what_followed(alert, newer.alert), newer.expires
        frozen_since = lost.frozen_since
        if alert.rule and frozen_since is None:
            alert = replace(alert, stale_since=to_milliseconds(now.wall))
            frozen_since = now.awake
        alert = alert.with_changes()
        restored = replace(lost, alert=alert, expires=expires, frozen_since=frozen_since)
        self._put(restored, now)
        why = {"why": "the journal had lost it, and the store knows it"}
        transitions.append(Transition("restored", alert, why))
        if self.is_quieted(lost.key):
            why = {"why": "a person resolved it while it was lost"}
            transitions.append(self.close(restored, now, by=RESTORED, reason=why))
        return transitions

    def redate(self, now: Instant) -> None:
        """Have the timers that run written anew: the journal keeps them as wall clock times, and
        that clock was set, or went on while theirs stood still."""
        for incident in self._open.values():
            if incident.has_timer:
                self._changed[incident.alert.id] = incident.to_state(now)

    # What the engine does.

    def get(self, alert_id: str) -> Incident:
        """Return the open incident of an alert.

        Raises:
            NotFound: no open alert has this id.
        """
        key = self._key_of.get(alert_id)
        if key is None:
            raise NotFound(f"no open alert has the id {alert_id!r}")
        return self._open[key]

    def find(self, key: str) -> Incident | None:
        return self._open.get(key)

    def of_rule(self, rule: str) -> list[Incident]:
        """Return the open incidents of a rule."""
        return [self._open[key] for key in self._of_rule.get(rule, ())]

    def has_room(self, rule: str) -> bool:
        """Return whether another alert of a rule may open."""
        return len(self._of_rule.get(rule, ())) < MAX_OF_RULE

    def rules(self) -> list[str]:
        """Return the names of the rules that have an open incident or a quieted key, sorted."""
        quieted = {one.rule for one in self._quieted.values()}
        return sorted({rule for rule, keys in self._of_rule.items() if rule and keys} | quieted)

    def is_quieted(self, key: str) -> bool:
        return key in self._quieted

    def quieted(self, rule: str) -> list[Quieted]:
        """Return the quieted keys of a rule."""
        return [one for one in self._quieted.values() if one.rule == rule]

    def forget_quieted(self, key: str) -> None:
        """Let a key open an alert again: its condition was surely false."""
        self._changed[self._quieted.pop(key).alert_id] = None

    def open(self, incident: Incident, now: Instant) -> None:
        """Add an incident that the engine decided to open."""
        self._put(incident, now)

    def update(self, incident: Incident, now: Instant) -> None:
        """Replace an incident by its next version, to be journalled."""
        self._put(incident, now)

    def touch(self, incident: Incident) -> None:
        """Replace an incident in memory only: what changed is not worth a write."""
        self._open[incident.key] = incident

    def close(
        self, incident: Incident, now: Instant, *, by: str, reason: Mapping[str, Any]
    ) -> Transition:
        """End an incident; return its last transition."""
        wall = to_milliseconds(now.wall)
        alert = incident.alert.with_changes(
            state=AlertState.RESOLVED, resolved_at=wall, resolved_by=by, stale_since=None
        )
        del self._open[incident.key]
        del self._key_of[alert.id]
        self._of_rule[alert.rule].pop(incident.key, None)
        self._changed[alert.id] = None
        return Transition("resolved", alert, reason)

    def new_id(self, wall: float) -> str:
        return self._new_id(wall)

    @property
    def node(self) -> str:
        return self._node

    def _put(self, incident: Incident, now: Instant) -> None:
        self._hold(incident)
        self._changed[incident.alert.id] = incident.to_state(now)

    def _hold(self, incident: Incident) -> None:
        self._open[incident.key] = incident
        self._key_of[incident.alert.id] = incident.key
        self._of_rule.setdefault(incident.alert.rule, {})[incident.key] = None


def _with_what_followed(alert: Alert, newer: Alert) -> Alert:
    """Return an alert with what was said and done of the same one later."""
    later = {name: getattr(newer, name) for name in _SHOWN}
    if newer.acknowledged and not alert.acknowledged:
        later.update({name: getattr(newer, name) for name in _MARKS})
    if not alert.rule:
        later["occurrences"] = alert.occurrences + newer.occurrences
    return replace(alert, last_seen=newer.last_seen, **later)
