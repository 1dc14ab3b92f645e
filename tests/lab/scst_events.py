"""An emulated /dev/scst_event: says what SCST would say of its hosts, in the layout of its public
header (scst/include/scst_event.h), to whoever has the shim preloaded.

Texts are as the kernel leaves them: cut off, and ended by a NUL.
"""

import os
import struct
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.tape.shim import compiled

CORE = "SCST core"

_HEAD = struct.Struct("=iII50s")
_NAME_BYTES = 256
_QUEUE_BYTES = 1 << 20


def shim() -> Path:
    """Return the library to preload."""
    source = Path(__file__).with_suffix(".c")
    return compiled("scstevents", (source,), ("-O2", "-Wall", "-Wextra", "-Werror"), ("-ldl",))


def event(code: int, payload: bytes, *, issuer: str = CORE) -> bytes:
    """Return an event as a reader gets it: struct scst_event and its payload, of which the kernel
    hands over two bytes more, for the structure is longer than where its payload begins."""
    return _HEAD.pack(len(payload), code, 0, issuer.encode()) + payload + bytes(2)


def lun_not_found(initiator: str, target: str, lun: int) -> bytes:
    return event(1, struct.pack("=Q", lun) + _name(initiator) + _name(target))


def masked_initiator(initiator: str, target: str) -> bytes:
    return event(2, _name(initiator) + _name(target))


def task_management(
    function: int,
    initiator: str,
    target: str,
    *,
    lun: int = 0,
    device: str = "",
    session: str = "",
    tag: int = 0,
    cdb: bytes = b"",
) -> bytes:
    """Return what is said of a task management function; of an ABORT TASK, with the command."""
    payload = (
        struct.pack("=I4xQ", function, lun)
        + _name(device)
        + _name(initiator)
        + _name(target)
        + _name(session or initiator)
        + struct.pack("=Q16s", tag, cdb)
    )
    return event(4, payload)


def virtual_device(device: str) -> bytes:
    return event(6, device.encode()[:59].ljust(60, b"\0"))


def _name(text: str) -> bytes:
    return text.encode()[: _NAME_BYTES - 1].ljust(_NAME_BYTES, b"\0")


class ScstEventDevice:
    """The device, below a directory that a reader takes for /dev."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "scst_event"
        self._allowed = directory / "scst_event.allowed"
        self._pipe = -1

    def __enter__(self) -> Self:
        os.mkfifo(self.path, 0o600)
        # Both ends, so that a reader that goes leaves no broken pipe.
        self._pipe = os.open(self.path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._pipe)
        self.path.unlink()

    @property
    def allowed(self) -> list[str]:
        """What readers have asked for so far: code and issuer."""
        return self._allowed.read_text().splitlines() if self._allowed.exists() else []

    def say(self, *events: bytes) -> None:
        """Send events to the reader."""
        for one in events:
            os.write(self._pipe, struct.pack("=I", len(one)) + one)
