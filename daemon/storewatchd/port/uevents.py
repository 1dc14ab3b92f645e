"""What the kernel says of its devices as it happens: their netlink messages, as the kernel itself
sends them (lib/kobject_uevent.c).

They are the kernel's, not udevd's: those come without udevd too, and before it has run its rules.
What the probes look at is in sysfs by then, and a node in /dev is the kernel's own. No privilege is
needed, and no library: libudev would add what nobody here asks for.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

NETLINK_KOBJECT_UEVENT = 15
KERNEL_GROUP = 1

BUFFER_BYTES = 1 << 20
"""How much the kernel keeps for us; a message has 2 KiB at most."""

MESSAGE_BYTES = 8192

AT_ONCE = 200
"""How many messages are taken in one go before others have their turn."""


@dataclass(frozen=True, slots=True)
class Uevent:
    """One message: what was done (add, remove, change, bind, ...) to which device. `lost` ones have
    no name: how many there were is not known."""

    action: str
    path: str = ""  # below /sys
    subsystem: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)


LOST = Uevent("lost")
"""The kernel had more to tell than fits in its buffer."""


def parse_uevent(message: bytes) -> Uevent | None:
    """Return what a message says; None for one that is not of the kernel's form, `ACTION@PATH` and
    properties, each with a NUL behind it."""
    head, *rest = message.split(b"\0")
    properties = dict(_pairs(rest))
    action, path = properties.get("ACTION", ""), properties.get("DEVPATH", "")
    if not action or not path or _text(head) != f"{action}@{path}":
        return None
    return Uevent(action, path, properties.get("SUBSYSTEM", ""), properties)


def _pairs(parts: list[bytes]) -> Iterator[tuple[str, str]]:
    for part in parts:
        name, mark, value = _text(part).partition("=")
        if mark and name:
            yield name, value


def _text(raw: bytes) -> str:
    # Not as surrogates: what is heard is recorded, and those cannot be written.
    return raw.decode(errors="backslashreplace")


class UeventPort:
    """The kernel's messages, handed over one by one."""

    def __init__(self, take: Callable[[Uevent], None], *, buffer_bytes: int = BUFFER_BYTES) -> None:
        self._take = take
        self._buffer_bytes = buffer_bytes

    async def run(self) -> None:
        """Hand over messages until cancelled.

        Raises:
            OSError: this machine lets nobody listen.
        """
        loop = asyncio.get_running_loop()
        with socket.socket(
            socket.AF_NETLINK,
            socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC,
            NETLINK_KOBJECT_UEVENT,
        ) as netlink:
            netlink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer_bytes)
            netlink.bind((0, KERNEL_GROUP))
            loop.add_reader(netlink, self._read, netlink)
            try:
                await asyncio.Event().wait()
            finally:
                loop.remove_reader(netlink)

    def _read(self, netlink: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            for _ in range(AT_ONCE):
                try:
                    message, (sender, _) = netlink.recvfrom(MESSAGE_BYTES)
                except OSError as error:
                    if error.errno != errno.ENOBUFS:
                        raise
                    self._take(LOST)
                    continue
                # Port 0 is the kernel; whoever may administer the network can send here too.
                event = parse_uevent(message) if sender == 0 else None
                if event is not None:
                    self._take(event)
