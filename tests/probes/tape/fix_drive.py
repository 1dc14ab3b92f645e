"""A tape drive that answers through a port, and is asked again and again by one probe."""

import asyncio
import struct
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from fakes import NOON, HandClock, ScriptedPort
from probes.fix_probes import assert_keeps_to_its_families
from probes.tape.fix_tape import device, ran
from scsi.fix_logs import log_page, parameter
from storewatchd.core.frames import Frame, News, Scope
from storewatchd.core.model import EventType
from storewatchd.port import Reading
from storewatchd.probes.tape.alerts import make_tape_alerts
from storewatchd.probes.tape.drive_logs import DriveLogsProbe

DRIVE = "DRV0001"
AT = "3:0:1:0"
SCOPE = Scope("tape_drive_logs", (("drive", DRIVE),))
REFUSED = ran(status=5, stderr="log_sense: field in cdb illegal\nsg_logs failed: Illegal request\n")
NO_MEDIUM = ran(status=2, stderr="Read attribute command: Device not ready\n")
MIB, MB = 1 << 20, 10**6


def attribute(identifier: int, value: bytes, kind: int = 0) -> bytes:
    """Return an attribute of a cartridge's memory (SPC-4 7.4.1)."""
    return struct.pack(">HBH", identifier, 0x80 | kind, len(value)) + value


def counters(page: int, *numbers: int) -> bytes:
    """Return a page of parameters 0000h and up, of eight bytes each."""
    return log_page(page, *(parameter(code, (one, 8)) for code, one in enumerate(numbers)))


@dataclass
class Tape:
    """A cartridge."""

    barcode: str = "A00001L8"
    serial: str = "SN1"
    loads: int = 7
    threads: int = 8
    more: tuple[bytes, ...] = ()

    def memory(self) -> bytes:
        body = b"".join(
            (
                attribute(0x0000, (1000).to_bytes(8)),
                attribute(0x0001, (4000).to_bytes(8)),
                attribute(0x0003, self.loads.to_bytes(8)),
                attribute(0x020A, b"ACME    " + DRIVE.encode(), 1),
                attribute(0x0220, (500).to_bytes(8)),
                attribute(0x0400, b"MAKER   ", 1),
                attribute(0x0401, self.serial.encode(), 1),
                attribute(0x0405, b"\x5e"),
                attribute(0x0406, b"20240131", 1),
                attribute(0x0408, b"\x00"),
                attribute(0x0806, self.barcode.encode(), 1),
            )
        )
        return len(body).to_bytes(4) + body


@dataclass
class FakeDrive:
    """A drive with every page that we read; what a test changes, it tells from then on."""

    tape: Tape | None = None
    activity: int = 0
    flags: frozenset[int] = frozenset()
    told_flags: frozenset[int] = frozenset()  # by page 12h
    has_tafc: bool = True
    loads: int = 100
    celsius: int = 34
    written: int = 0  # since the load
    read: int = 0
    corrected: int = 0
    uncorrected: int = 0
    pages: tuple[int, ...] = (0, 2, 3, 0x0C, 0x0D, 0x11, 0x12, 0x14, 0x17, 0x18, 0x1B, 0x31)
    instead: dict[str, Any] = field(default_factory=dict)  # of an answer, by row

    def answers(self) -> dict[str, bytes]:
        loaded = self.tape is not None
        changed = self.has_tafc and self.flags != self.told_flags
        bits = bytes((0x21 if loaded else 0x01, 0x37 if loaded else 0x20, self.activity, changed))
        alerts = sum(1 << (64 - flag) for flag in self.flags).to_bytes(8)
        status = log_page(0x11, parameter(0, bits), parameter(1, (100, 2)))
        errors = (0, 0, 5, self.corrected, 0, 10 * MB, self.uncorrected)
        return {
            "tape.log.00": bytes((0, 0)) + len(self.pages).to_bytes(2) + bytes(self.pages),
            "tape.log.02": counters(0x02, *errors),
            "tape.log.03": counters(0x03, *(0,) * 7),
            "tape.log.0c": log_page(
                0x0C,
                parameter(0, (self.written, 8)),
                parameter(1, (self.written // 2, 8)),
                parameter(2, (self.read // 2, 8)),
                parameter(3, (self.read, 8)),
                parameter(0x100, (0, 1)),
            ),
            "tape.log.0d": log_page(0x0D, parameter(0, bytes((0, self.celsius)))),
            "tape.log.11": status,
            "tape.log.12": log_page(0x12, parameter(0, alerts)),
            "tape.log.14": counters(0x14, self.loads, 3, 1000, 200, 5000),
            "tape.log.17": self.volume(),
            "tape.log.18": log_page(0x18, parameter(1, b"\x00")),
            "tape.log.1b": log_page(0x1B, parameter(0, (150, 2)), parameter(1, (247, 2))),
            "tape.log.31": log_page(
                0x31, *(parameter(code, (one, 4)) for code, one in enumerate((900, 0, 4000, 0), 1))
            ),
            "tape.attributes": self.tape.memory() if self.tape else b"",
        }

    def volume(self) -> bytes:
        if self.tape is None:
            return log_page(0x17, parameter(0, (0, 1)))
        return log_page(
            0x17,
            parameter(0, (1, 1)),
            parameter(1, (self.tape.threads, 4)),
            parameter(3, (4, 4)),
            parameter(4, (0, 4)),
            parameter(0x10, (600, 4)),
            parameter(0x40, self.tape.serial.encode()),
            parameter(0x42, self.tape.barcode.encode()),
            *self.tape.more,
        )


class Desk(ScriptedPort):
    """One drive, and the probe that looks at it every half minute."""

    def __init__(self, drive: FakeDrive | None = None) -> None:
        super().__init__()
        self.drive = drive or FakeDrive()
        self.clock = HandClock()
        self.alerts = make_tape_alerts(self.clock.clock).drives
        self.probe = DriveLogsProbe(self.alerts.book)
        self.now = NOON
        self.tree = device(AT, 1, DRIVE, "sg4", "st0")
        self.asked_for: list[str] = []
        self.attentions: list[str] = []
        """Additional sense that the next commands get instead of an answer."""
        self.is_held = False
        self.count(write_byte_cnt=0, write_ns=0, read_byte_cnt=0, read_ns=0, in_flight=0)

    def count(self, **statistics: int) -> None:
        """Set statistics of the kernel."""
        for name, value in statistics.items():
            self.tree[f"scsi_tape/st0/stats/{name}"] = b"%d\n" % value

    async def read(self, row: str, object_id: str = "") -> Reading:
        if row == "sys.scsi":
            return Reading(self.tree, self.now, 0.0)
        self.asked_for.append(row)
        value = self.drive.instead.get(row) or ran(self.drive.answers()[row])
        if self.drive.tape is None and row == "tape.attributes":
            value = NO_MEDIUM
        if self.is_held:
            value = HELD
        elif self.attentions:
            words = self.attentions.pop(0)
            value = ran(
                status=6,
                stderr=f"Fixed format, current; Sense key: Unit Attention\n"
                f"Additional sense: {words}\n",
            )
        elif row == "tape.log.12":
            self.drive.told_flags = self.drive.flags
        self.readings[row, object_id] = value
        return replace(await super().read(row, object_id), at=self.now)

    def look(self, after_s: float = 30.0) -> Frame:
        self.now += after_s
        self.asked_for.clear()
        frame = asyncio.run(self.probe.collect(self, SCOPE))
        assert_keeps_to_its_families(self.probe, frame)
        for name, rows in frame.rows.items():
            assert max(Counter(row.labels for row in rows).values(), default=1) == 1, name
            assert all(row.labels[0] == DRIVE for row in rows)
        return frame

    def flags(self) -> Frame:
        """Return what is known of the flags after the last look."""
        self.clock.forward(self.now - self.clock.wall())
        frame = asyncio.run(self.alerts.collect(self, self.alerts.scope(DRIVE)))
        assert_keeps_to_its_families(self.alerts, frame)
        return frame

    def flag_news(self) -> list[dict[str, Any]]:
        """Look at all pages, and return the news of flags."""
        self.look()
        return of_kind(self.flags().news, "tapealert")

    def news(self, kind: str, after_s: float = 30.0) -> list[dict[str, Any]]:
        """Look, and return the news of a kind."""
        return of_kind(self.look(after_s).news, kind)


def of_kind(news: tuple[News, ...], kind: str) -> list[dict[str, Any]]:
    assert all(one.type is EventType.TAPE for one in news)
    return [dict(one.facts) for one in news if one.kind == kind]


MEDIUM_CHANGED = "Not ready to ready change, medium may have changed"
RESET = "Power on, reset, or bus device reset occurred"
HELD = ran(status=66, stderr="error opening file: /dev/sg0: Device or resource busy \n")
