"""What a probe is, and what most of them need."""

import errno
import os
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from storewatchd.core.frames import Family, Frame, MetricType, Row, Scope
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


def gauge(name: str, help_text: str, *labels: str, unit: str = "") -> Family:
    return Family(name, MetricType.GAUGE, help_text, labels, unit)


def counter(name: str, help_text: str, *labels: str, unit: str = "") -> Family:
    return Family(name, MetricType.COUNTER, help_text, labels, unit)


def seen(scope: Scope, rows: dict[str, list[Row]]) -> Frame:
    """Return the frame of a look that saw everything; its time is the collector's to set."""
    return Frame(scope, 0.0, rows=rows)


def check_permitted(attributes: Mapping[str, bytes | int]) -> None:
    """Refuse to take what may not be read for what is not there.

    Raises:
        ReadRefused: an attribute of a tree may not be read.
    """
    for path, content in attributes.items():
        if content in (-errno.EACCES, -errno.EPERM):
            assert isinstance(content, int)
            raise ReadRefused(f"{path}: {os.strerror(-content)}", errno=-content)
