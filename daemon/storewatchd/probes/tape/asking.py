"""Asks a SCSI device by the rows of the reader's table, and keeps what it says besides.

A unit attention comes to whoever asks next, and to nobody else: what we receive is kept, to be told
to everybody.
"""

from typing import TYPE_CHECKING

from storewatchd.errors import ProbeDeferred, ProbeFailed, ReadRefused
from storewatchd.port import Port
from storewatchd.scsi.sg_tools import Ending, Outcome, judge

if TYPE_CHECKING:
    from storewatchd.scsi.sense import Sense

OCCUPIED = (Ending.BUSY, Ending.RESERVATION_CONFLICT, Ending.HELD)
MAX_HEARD = 64
"""How many unit attentions of a device are kept while looks fail."""

TRIES = 3
"""How often a command is sent where the device has something else to tell first: a library may have
several things."""


class Asker:
    """One device, for the time of one look."""

    def __init__(self, port: Port, address: str) -> None:
        self._port = port
        self.address = address
        self.heard: list[Sense] = []
        """The unit attentions that came to us."""
        self.raced = False
        """Whether somebody else began to use the device meanwhile."""
        self.ending: Ending | None = None
        """How the last command ended; None where it could not be sent, or is not answered."""
        self.at: float | None = None
        """When the last answer came, Unix seconds."""
        self.duration_s: float | None = None
        """How long the last command took, with the start of the tool that sent it."""

    async def ask(self, row: str) -> bytes:
        """Return the bytes that the device answers to a row.

        Raises:
            ProbeDeferred: somebody uses it, who may be another host.
            ProbeFailed: it did not answer, or with an error.
        """
        self.ending = None
        for _ in range(TRIES):
            reading = await self._port.read(row, self.address)
            value, self.at = reading.value, reading.at
            self.duration_s = value["duration_s"]
            self.raced |= value["raced"]
            outcome = judge(value["status"], value["stderr"])
            self.ending = outcome.ending
            self.heard += [one for one in outcome.senses if one.is_unit_attention]
            if outcome.is_ok:
                return _whole(value["stdout"], outcome)
            if outcome.ending is not Ending.UNIT_ATTENTION:
                break
        if outcome.ending in OCCUPIED:
            raise ProbeDeferred(outcome.sentence)
        if outcome.errno is not None:
            raise ReadRefused(outcome.sentence, errno=outcome.errno)
        raise ProbeFailed(outcome.sentence)


def _whole(answer: bytes, outcome: Outcome) -> bytes:
    if outcome.received_bytes not in (None, len(answer)):
        raise ProbeFailed(f"{outcome.received_bytes} bytes were received, and {len(answer)} came")
    return answer
