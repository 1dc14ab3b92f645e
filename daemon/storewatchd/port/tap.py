"""Lets somebody listen to every fact that comes through the port, for a recording."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from storewatchd.errors import ProbeError
from storewatchd.port import Port, Reading

HOST = "host"
"""The row that stands for facts of the host, which are told by name."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One answer of the port. `outcome` is `value`, or the name of the error whose sentence
    `value` is; `at` is 0 where an error has no time. A tree's value maps paths to bytes."""

    at: float
    duration_s: float
    row: str
    object: str
    outcome: str
    value: Any


Listener = Callable[[Fact], None]


class TappedPort:
    """A port that tells what it answers; without a listener it costs a comparison."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self.listener: Listener | None = None

    async def read(self, row: str, object_id: str = "") -> Reading:
        """Return the answer to a row; see `Port.read` for what it raises."""
        try:
            reading = await self._port.read(row, object_id)
        except ProbeError as error:
            self._tell(Fact(0.0, 0.0, row, object_id, type(error).__name__, str(error)))
            raise
        self._tell(Fact(reading.at, reading.duration_s, row, object_id, "value", reading.value))
        return reading

    def host(self, fact: str) -> Any:
        value = self._port.host(fact)
        self._tell(Fact(0.0, 0.0, HOST, fact, "value", value))
        return value

    def told(self, row: str, value: Any) -> None:
        """Take note of a fact that came unasked, from a watch or from the kernel."""
        self._tell(Fact(0.0, 0.0, row, "", "value", value))

    def _tell(self, fact: Fact) -> None:
        if self.listener is not None:
            self.listener(fact)
