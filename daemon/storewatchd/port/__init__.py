"""The one door to the outside world's facts: what the probes learn, they learn here.

Reads that may block go to the reader process; what never blocks (psutil's `/proc` reads) is taken
at once. Every answer passes through `Port`, so that it can be recorded.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = ["Heard", "Port", "Reading"]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a read gave. For a tree the value is a mapping from path to bytes, or to a negative
    errno; for a tool `status`, `stdout` (bytes), `stderr`, `duration_s`, and whether the device was
    `raced` for by somebody else meanwhile. `at` is Unix seconds, when it was read."""

    value: Any
    at: float
    duration_s: float


@dataclass(frozen=True, slots=True)
class Heard:
    """What a watch tells at once. Either how it stands (`state`: listening; absent, forbidden or
    failed; deferred, where listening would disturb; and why), or what was heard: records, of a log
    with the pattern that each matches, how many `more` of which pattern are only counted, and how
    many were `lost`."""

    state: str = ""
    message: str = ""
    records: tuple[bytes, ...] = ()
    patterns: tuple[str, ...] = ()
    more: Mapping[str, int] = field(default_factory=dict)
    lost: int = 0


class Port(Protocol):
    """What a probe may ask."""

    async def read(self, row: str, object_id: str = "") -> Reading:
        """Return the answer to a row of the reader's table.

        Raises:
            ReadStuck: it has not answered within its bound, or an earlier read still has not.
            ReadRefused: the kernel answered with an error number.
            ProbeAbsent: there is no such device.
            ProbeDeferred: the device is in use, and asking would disturb.
            ProbeFailed: the reader cannot be asked.
        """
        ...

    def host(self, fact: str) -> Any:
        """Return a fact that never blocks; see `storewatchd.port.host.FACTS`."""
        ...


class HostAndReader:
    """The real port: this machine."""

    def __init__(
        self,
        read: Callable[[str, str], Awaitable[Reading]],
        facts: Callable[[str], Any],
    ) -> None:
        self._read = read
        self._facts = facts

    async def read(self, row: str, object_id: str = "") -> Reading:
        return await self._read(row, object_id)

    def host(self, fact: str) -> Any:
        return self._facts(fact)
