"""What a device can be told to do wrong."""

import threading
from dataclasses import dataclass, field


@dataclass
class Fault:
    """One misbehaviour, for the commands that it names.

    The first outcome that is set happens in place of the command; `truncate` and `garbage` spoil
    the data of one that is carried out.
    """

    opcode: int | None = None  # None for every command
    page: int | None = None  # of LOG SENSE, MODE SENSE and INQUIRY
    count: int | None = None  # None for as long as it is there
    delay_s: float = 0.0
    # Outcomes.
    stuck_path: str = ""
    """Whoever asks blocks in the kernel on this path, where no signal reaches."""
    hangs: bool = False
    drops: bool = False
    errno: int = 0
    host_status: int = 0
    driver_status: int = 0
    sense: tuple[int, int, int] | None = None
    status: int = 0
    # Spoilt data.
    truncate: int | None = None
    garbage: bool = False
    over: threading.Event = field(default_factory=threading.Event)
    """Set when what hangs may go on."""

    def matches(self, cdb: bytes) -> bool:
        if self.count == 0 or self.opcode not in (None, cdb[0]):
            return False
        return self.page is None or self.page == cdb[2] & 0x3F

    def take(self) -> None:
        """Count one command that it happened to."""
        if self.count:
            self.count -= 1

    def spoil(self, data: bytes) -> bytes:
        if self.truncate is not None:
            data = data[: self.truncate]
        return bytes(byte ^ 0xA5 for byte in data) if self.garbage else data
