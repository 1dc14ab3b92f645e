"""Small stand-ins for what lies outside the daemon: its clocks, its probes, the machine's facts."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, cast

from storewatchd.clock import Clock
from storewatchd.core.frames import Family, Frame, ObjectKind, Row, Scope
from storewatchd.core.model import Instant
from storewatchd.errors import ProbeError, ProbeFailed
from storewatchd.port import Port, Reading

NOON = 1_767_268_800.0
"""2026-01-01T12:00:00Z, in Unix seconds."""


class HandClock:
    """The machine's clocks, which stand still until they are moved."""

    def __init__(self, wall: float = NOON, monotonic: float = 1000.0) -> None:
        self._now = Instant(wall, monotonic)

    @property
    def clock(self) -> Clock:
        """This, for what asks for the machine's own clocks."""
        return cast("Clock", self)

    def now(self) -> Instant:
        return self._now

    def wall(self) -> float:
        return self._now.wall

    def monotonic(self) -> float:
        return self._now.monotonic

    def awake(self) -> float:
        return self._now.awake

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        self._now = self._now.later(seconds)

    def jump(self, seconds: float) -> None:
        """Set the wall clock by so much."""
        self._now = jumped(self._now, seconds)

    def suspend(self, seconds: float) -> None:
        """Let time pass while the machine is suspended."""
        self._now = suspended(self._now, seconds)


def jumped(now: Instant, seconds: float) -> Instant:
    """Return the same moment by a wall clock that was set by so much."""
    return now._replace(wall=now.wall + seconds)


def suspended(now: Instant, seconds: float) -> Instant:
    """Return the moment after the machine was suspended for so long."""
    return now.later(seconds)._replace(suspended_s=now.suspended_s + seconds)


Found = Mapping[str, Sequence[Row]]


class ScriptedProbe:
    """A probe that finds what it is told to find, and notes what it is asked.

    `scopes` is what a discovery finds, `answers` what a look at a scope does; either may be an
    error. A look at a scope that has a gate, and a discovery while `discovery_gate` is closed,
    wait for it as a hung read would.
    """

    def __init__(
        self,
        name: str,
        *scopes: Scope,
        families: tuple[Family, ...] = (),
        found: Found | None = None,
    ) -> None:
        self.name = name
        self.families = families
        self.scopes: tuple[Scope, ...] | Exception = scopes or (Scope(name),)
        self.found: Found = found or {}
        self.answers: dict[Scope, Found | Exception] = {}
        self.gates: dict[Scope, asyncio.Event] = {}
        self.discovery_gate = asyncio.Event()
        self.discovery_gate.set()
        self.discoveries = 0
        self.looks: list[Scope] = []
        self.looks_together = False
        self.remembered: set[tuple[ObjectKind, str]] = set()
        """The objects that it can forget."""
        self._changed = asyncio.Condition()

    def hang(self, scope: Scope) -> asyncio.Event:
        """Let the looks at a scope hang until the event is set."""
        self.gates[scope] = asyncio.Event()
        return self.gates[scope]

    async def discover(self, port: Port) -> tuple[Scope, ...]:
        self.discoveries += 1
        await self._note()
        await self.discovery_gate.wait()
        if isinstance(self.scopes, Exception):
            raise self.scopes
        return self.scopes

    async def collect(self, port: Port, scope: Scope) -> Frame:
        self.looks.append(scope)
        await self._note()
        gate = self.gates.get(scope)
        if gate is not None:
            await gate.wait()
        answer = self.answers.get(scope, self.found)
        if isinstance(answer, Exception):
            raise answer
        return Frame(scope, 0.0, rows=answer)

    def forget(self, kind: ObjectKind, object_id: str) -> bool:
        is_known = (kind, object_id) in self.remembered
        self.remembered.discard((kind, object_id))
        return is_known

    async def began(self, scope: Scope, count: int = 1) -> None:
        """Wait until so many looks at a scope have begun."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.looks.count(scope) >= count)

    async def discovered(self, count: int) -> None:
        """Wait until so many discoveries have begun."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.discoveries >= count)

    async def _note(self) -> None:
        async with self._changed:
            self._changed.notify_all()


class ScriptedPort:
    """The outside world's facts, as a test sets them; what is not set cannot be read."""

    def __init__(self) -> None:
        self.readings: dict[tuple[str, str], Any] = {}
        """By row and object: a value, or an error to raise."""
        self.facts: dict[str, Any] = {}
        self._asked: set[tuple[str, str]] = set()
        self._changed = asyncio.Condition()

    async def asked(self, row: str, object_id: str = "") -> None:
        """Wait until something was read, or tried to be."""
        async with self._changed:
            await self._changed.wait_for(lambda: (row, object_id) in self._asked)

    async def read(self, row: str, object_id: str = "") -> Reading:
        self._asked.add((row, object_id))
        async with self._changed:
            self._changed.notify_all()
        value = self.readings.get((row, object_id), ProbeFailed(f"nothing is set for {row}"))
        if isinstance(value, ProbeError):
            raise value
        return Reading(value, NOON, 0.0)

    def host(self, fact: str) -> Any:
        return self.facts[fact]
