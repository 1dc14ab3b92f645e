"""What a probe is, and what most of them need."""

import errno
import os
from collections.abc import Collection, Iterable, Mapping
from typing import Protocol, runtime_checkable

from storewatchd.core.frames import (
    Family,
    Found,
    Frame,
    MetricType,
    News,
    ObjectKind,
    Row,
    Scope,
)
from storewatchd.errors import ReadRefused
from storewatchd.port import Port

STALE_AFTER_INTERVALS = 5
"""After how many intervals without a look what a probe said is no longer known."""


class Probe(Protocol):
    """One source of facts. `collect` raises ProbeAbsent, ProbeDeferred or ProbeFailed where it
    cannot deliver a frame."""

    @property
    def name(self) -> str: ...

    @property
    def families(self) -> tuple[Family, ...]: ...

    async def discover(self, port: Port) -> tuple[Scope, ...]:
        """Return the scopes that there are now."""
        ...

    async def collect(self, port: Port, scope: Scope) -> Frame:
        """Look at a scope. The collector stamps the frame's time and duration."""
        ...


@runtime_checkable
class Patient(Protocol):
    """A probe whose looks are put off while somebody uses the device: what it said holds so many
    seconds, and not only a few intervals."""

    @property
    def max_age_s(self) -> float: ...


@runtime_checkable
class Together(Protocol):
    """A probe whose scopes are looked at together where this is set, and not spread over the
    interval: they are read in one piece, which they share then."""

    @property
    def looks_together(self) -> bool: ...


@runtime_checkable
class Remembering(Protocol):
    """A probe that knows what it saw before, also over a restart: what is gone since is not the
    same as what never was there."""

    @property
    def name(self) -> str: ...

    def to_plain(self) -> object:
        """Return what has to be kept, as what MessagePack can say. It may wait for a look that is
        being taken in: call it in a thread."""
        ...

    def restore(self, kept: object) -> None:
        """Take back what `to_plain` said before a restart; anything else is left out. No look was
        taken yet."""
        ...


@runtime_checkable
class Forgetting(Protocol):
    """A probe that remembers objects that are gone, until a person says that they are."""

    def forget(self, kind: ObjectKind, object_id: str) -> bool:
        """Remember an object no more; return whether it was remembered."""
        ...


class Legible:
    """Which attributes of each scope could be read before: of those that cannot be now, the value
    is not known. Many an attribute never can; of that nobody knows anything."""

    def __init__(self) -> None:
        self._paths: dict[Scope, set[str]] = {}

    def keep(self, scopes: Collection[Scope]) -> None:
        """Forget all other scopes."""
        self._paths = {scope: paths for scope, paths in self._paths.items() if scope in scopes}

    def check(self, scope: Scope, attributes: Mapping[str, bytes | int]) -> None:
        """Take note of what could be read.

        Raises:
            ReadRefused: an attribute that could be before cannot be any more.
        """
        known = self._paths.setdefault(scope, set())
        for path, content in attributes.items():
            if isinstance(content, int) and path in known:
                raise ReadRefused(f"{path}: {os.strerror(-content)}", errno=-content)
        known.update(path for path, content in attributes.items() if isinstance(content, bytes))


def gauge(name: str, help_text: str, *labels: str, unit: str = "") -> Family:
    return Family(name, MetricType.GAUGE, help_text, labels, unit)


def counter(name: str, help_text: str, *labels: str, unit: str = "") -> Family:
    return Family(name, MetricType.COUNTER, help_text, labels, unit)


def seen(
    scope: Scope,
    rows: dict[str, list[Row]],
    news: Iterable[News] = (),
    objects: Iterable[Found] = (),
) -> Frame:
    """Return the frame of a look that saw everything; its time is the collector's to set."""
    return Frame(scope, 0.0, rows=rows, news=tuple(news), objects=tuple(objects))


def check_permitted(attributes: Mapping[str, bytes | int]) -> None:
    """Refuse to take what may not be read for what is not there.

    Raises:
        ReadRefused: an attribute of a tree may not be read.
    """
    for path, content in attributes.items():
        if content in (-errno.EACCES, -errno.EPERM):
            assert isinstance(content, int)
            raise ReadRefused(f"{path}: {os.strerror(-content)}", errno=-content)
