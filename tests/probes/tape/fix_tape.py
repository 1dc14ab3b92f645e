"""A library and drives as sysfs and the tools tell of them, for a scripted port."""

import struct
from dataclasses import dataclass, field
from typing import Any

from fakes import ScriptedPort

LIBRARY = "LIB0001"
CHANGER_AT = "3:0:0:0"
ROBOT, STORAGE, MAIL, DRIVE = 1, 2, 3, 4


def serial_page(serial: str) -> bytes:
    """Return VPD page 80h (SPC-4 7.8.15)."""
    return struct.pack(">BBH", 8, 0x80, len(serial)) + serial.encode()


def device(
    address: str, kind: int, serial: str | None, sg: str, tape: str = ""
) -> dict[str, bytes]:
    """Return what sysfs has of a device."""
    place = f"scsi_device/{address}/device"
    found = {
        f"{place}/vendor": b"ACME    \n",
        f"{place}/model": b"Tape 9          \n",
        f"{place}/rev": b"1.00\n",
        f"{place}/type": b"%d\n" % kind,
        f"{place}/state": b"running\n",
        f"{place}/scsi_generic/{sg}/": b"",
    }
    if serial is not None:
        found[f"{place}/vpd_pg80"] = serial_page(serial)
    for name in (tape, f"n{tape}", f"n{tape}a") if tape else ():
        found[f"{place}/scsi_tape/{name}/"] = b""
    return found


def ran(stdout: bytes = b"", status: int = 0, stderr: str = "", *, raced: bool = False) -> Any:
    """Return what the reader says of a tool."""
    return {
        "status": status,
        "stdout": stdout,
        "stderr": stderr,
        "duration_s": 0.1,
        "raced": raced,
    }


@dataclass
class Place:
    """An element: what it is, where, and what is in it; None is empty, "" has no bar code."""

    kind: int
    address: int
    tag: str | None = None
    code: tuple[int, int] | None = None
    is_accessible: bool = True
    drive: str = ""

    def descriptor(self) -> bytes:
        flags = (self.tag is not None) | 0x04 * (self.code is not None)
        flags |= 0x08 * (self.is_accessible and self.kind != ROBOT)
        asc, ascq = self.code or (0, 0)
        head = struct.pack(">HBBBB6x", self.address, flags, 0, asc, ascq)
        rest = b""
        if self.kind == DRIVE:
            # A vendor specific designator: the serial number (SMC-3 6.11.5).
            rest = bytes((2, 0, 0, len(self.drive))) + self.drive.encode()
        return head + (self.tag or "").ljust(32).encode() + bytes(4) + rest


@dataclass
class FakeLibrary:
    """A library that answers through a port; its places may be changed between looks."""

    places: list[Place] = field(default_factory=list)
    serial: str | None = LIBRARY

    def assignment(self) -> bytes:
        """Return mode page 1Dh behind its header (SMC-3 7.3.3)."""
        page = b"".join(
            struct.pack(">HH", min((p.address for p in ours), default=0), len(ours))
            for kind in (ROBOT, STORAGE, MAIL, DRIVE)
            if (ours := [one for one in self.places if one.kind == kind]) is not None
        )
        return bytes((23, 0, 0, 0, 0x1D, 0x12)) + page + bytes(2)

    def report(self) -> bytes:
        """Return READ ELEMENT STATUS data (SMC-3 6.11)."""
        pages = b""
        for kind in (ROBOT, STORAGE, MAIL, DRIVE):
            found = [one.descriptor() for one in self.places if one.kind == kind]
            if found:
                body = b"".join(found)
                head = struct.pack(">BBHB", kind, 0x80, len(found[0]), 0)
                pages += head + len(body).to_bytes(3) + body
        return struct.pack(">HHB", 0, len(self.places), 0) + len(pages).to_bytes(3) + pages

    def tell(self, port: ScriptedPort, **drives: str) -> None:
        """Let a port answer for this library, and for drives by serial number and node."""
        tree = device(CHANGER_AT, 8, self.serial, "sg3")
        for number, (serial, tape) in enumerate(drives.items()):
            tree |= device(f"3:0:{number + 1}:0", 1, serial, f"sg{number + 4}", tape)
        port.readings["sys.scsi", ""] = tree
        port.readings["changer.addresses", CHANGER_AT] = ran(self.assignment())
        for row in ("changer.elements", "changer.elements.all"):
            port.readings[row, CHANGER_AT] = ran(self.report())


def library(*tags: str | None, **changes: Any) -> FakeLibrary:
    """Return a library with a robot, a mail slot, a drive in a bay, and slots with these tags."""
    places = [Place(ROBOT, 1), Place(MAIL, 10), Place(DRIVE, 500, drive="DRV0001")]
    places += [Place(STORAGE, 1000 + number, tag) for number, tag in enumerate(tags)]
    return FakeLibrary(places, **changes)
