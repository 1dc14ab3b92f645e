"""A logical unit: the commands that all kinds have, unit attentions, reservations and faults."""

import struct
import threading
import zlib
from collections.abc import Callable

from lab.tape.faults import Fault
from lab.tape.host import Host
from lab.tape.scsi import (
    Answer,
    Conflict,
    Dropped,
    Key,
    Refused,
    Sense,
    Status,
    Stuck,
    bad_field,
    bad_operation,
    designator,
    number,
    padded,
)

INQUIRY, REQUEST_SENSE, REPORT_LUNS = 0x12, 0x03, 0xA0
# What is answered whatever is pending (SAM-5, unit attention conditions).
_UNDISTURBED = (INQUIRY, REQUEST_SENSE, REPORT_LUNS)

Operation = Callable[[bytes], bytes]


class Device:
    """A logical unit that answers CDBs. Its state is guarded by `lock`."""

    kind = 0
    product = "DEVICE"
    revision = "0001"
    standard = 0x0460  # version descriptor
    vendor = "LABEMU"

    def __init__(self, serial: str) -> None:
        self.serial = serial
        self.host = Host(0)
        self.lock = threading.RLock()
        self.unit_attentions: list[tuple[int, int]] = []
        self.faults: list[Fault] = []
        self.seen: list[bytes] = []
        """Every CDB, for a test to look at."""
        self.flags: set[int] = set()
        """Raised TapeAlert flags."""
        self.told_flags: set[int] = set()
        """Those that page 12h told of last."""
        self.is_removal_prevented = False
        self.is_reserved_elsewhere = False
        self.requested = self.done = self.failed = 0
        self.on_change: Callable[[], None] = lambda: None
        """Called when a command begins and when it ends."""
        self._operations: dict[int, Operation] = {
            0x00: self._test_unit_ready,
            REQUEST_SENSE: self._request_sense,
            INQUIRY: self._inquiry,
            0x16: _nothing,  # RESERVE(6): all of this machine is one initiator
            0x17: _nothing,  # RELEASE(6)
            0x1A: lambda cdb: self._mode_sense(cdb, is_long=False)[: cdb[4]],
            0x1E: self._prevent_removal,
            0x4D: self._log_sense,
            0x56: _nothing,
            0x57: _nothing,
            0x5A: lambda cdb: self._mode_sense(cdb, is_long=True)[: number(cdb, 7, 2)],
            REPORT_LUNS: lambda cdb: struct.pack(">II8x", 8, 0),
        }
        self._operations |= self.operations()

    # What each kind has of its own.

    def operations(self) -> dict[int, Operation]:
        return {}

    def check_ready(self) -> None:
        """Raise what TEST UNIT READY says."""

    def identification(self) -> dict[int, bytes]:
        """Return vital product data of its own, by page."""
        return {}

    def log_pages(self) -> dict[int, Callable[[], bytes]]:
        return {}

    def mode_pages(self) -> dict[int, bytes]:
        return {}

    def mode_head(self) -> tuple[int, int, bytes]:
        """Return medium type, device-specific parameter and block descriptor."""
        return 0, 0, b""

    def adjust_inquiry(self, data: bytearray) -> None:
        """Change what INQUIRY says."""

    # What happens to a command.

    def run(self, cdb: bytes, size: int, timeout_s: float, block: Callable[[str], None]) -> Answer:
        """Carry out a command, as soon as the host has a place for it. `block` tells whoever sent
        it to look at a path that hangs.

        Raises:
            Dropped: the connection is to end.
            Stuck: who was blocked has been let go, and sends the command again.
        """
        if not self.host.take():
            raise Dropped
        answer = Answer(host_status=1)
        with self.lock:
            self.requested += 1
        self.on_change()
        try:
            answer = self._run(cdb, size, timeout_s, block)
        finally:
            self.host.give_back()
            with self.lock:
                self.done += 1
                self.failed += not answer.is_good
            self.on_change()
        return answer

    def _run(self, cdb: bytes, size: int, timeout_s: float, block: Callable[[str], None]) -> Answer:
        with self.lock:
            self.seen.append(cdb)
            fault = next((fault for fault in self.faults if fault.matches(cdb)), None)
            if fault:
                fault.take()
        if fault and (answer := _misbehave(fault, timeout_s, block)):
            return answer
        with self.lock:
            try:
                data = self._carry_out(cdb)[:size]
            except Refused as refusal:
                return Answer(Status.CHECK_CONDITION, refusal.sense.fixed())
            except Conflict:
                return Answer(Status.RESERVATION_CONFLICT)
        return Answer(data=fault.spoil(data) if fault else data)

    def _carry_out(self, cdb: bytes) -> bytes:
        if cdb[0] not in _UNDISTURBED:
            if self.is_reserved_elsewhere:
                raise Conflict
            if self.unit_attentions:
                raise Refused(Key.UNIT_ATTENTION, *self.unit_attentions.pop(0))
        operation = self._operations.get(cdb[0])
        if operation is None:
            raise bad_operation()
        return operation(cdb)

    def _test_unit_ready(self, cdb: bytes) -> bytes:
        self.check_ready()
        return b""

    def _request_sense(self, cdb: bytes) -> bytes:
        sense = Sense(Key.NO_SENSE, 0)
        if self.unit_attentions:
            sense = Sense(Key.UNIT_ATTENTION, *self.unit_attentions.pop(0))
        else:
            try:
                self.check_ready()
            except Refused as refusal:
                sense = refusal.sense
        return sense.fixed()[: cdb[4]]

    def _inquiry(self, cdb: bytes) -> bytes:
        size = number(cdb, 3, 2)
        if cdb[1] & 1:
            page = self.vital_page(cdb[2])
            if page is None:
                raise bad_field(2)
            return page[:size]
        if cdb[2]:
            raise bad_field(2)
        return self.standard_inquiry()[:size]

    def standard_inquiry(self) -> bytes:
        data = bytearray(96)
        data[0:5] = bytes([self.kind, 0x80, 6, 0x02, 91])
        data[7] = 0x02
        data[8:36] = padded(self.vendor, 8) + padded(self.product, 16) + padded(self.revision, 4)
        data[36:56] = padded(self.serial, 20)
        data[58:66] = struct.pack(">HHHH", 0x00A0, 0x0460, 0x0C20, self.standard)
        self.adjust_inquiry(data)
        return bytes(data)

    @property
    def world_wide_name(self) -> bytes:
        return bytes.fromhex("50014380") + zlib.crc32(self.serial.encode()).to_bytes(4, "big")

    def vital_page(self, page: int) -> bytes | None:
        """Return a page of vital product data, with its head; None where there is none."""
        label = padded(self.vendor, 8) + padded(self.product, 16) + padded(self.serial, 10)
        pages = {
            0x80: self.serial.encode(),
            0x83: designator(0x01, 0x02, label) + designator(0x03, 0x01, self.world_wide_name),
            **self.identification(),
        }
        pages[0x00] = bytes([0x00, *sorted(pages)])
        if page not in pages:
            return None
        return struct.pack(">BBH", self.kind, page, len(pages[page])) + pages[page]

    def _prevent_removal(self, cdb: bytes) -> bytes:
        self.is_removal_prevented = bool(cdb[4] & 1)
        return b""

    def _mode_sense(self, cdb: bytes, *, is_long: bool) -> bytes:
        page, pages = cdb[2] & 0x3F, self.mode_pages()
        if page == 0x3F:
            body = b"".join(pages[code] for code in sorted(pages))
        elif page in pages:
            body = pages[page]
        elif page == 0:
            body = b""
        else:
            raise bad_field(2)
        medium, specific, descriptor = self.mode_head()
        if cdb[1] & 8:
            descriptor = b""
        body = descriptor + body
        if is_long:
            head = struct.pack(">HBBHH", len(body) + 6, medium, specific, 0, len(descriptor))
        else:
            head = bytes([min(255, len(body) + 3), medium, specific, len(descriptor)])
        return head + body

    def _log_sense(self, cdb: bytes) -> bytes:
        page, subpage, size = cdb[2] & 0x3F, cdb[3], number(cdb, 7, 2)
        pages = self.log_pages()
        if page == 0 and subpage in (0, 0xFF):
            supported = [0, *sorted(pages)]
            pairs = (
                [(code, 0) for code in supported] if subpage else [(code,) for code in supported]
            )
            body = b"".join(map(bytes, pairs))
            return struct.pack(">BBH", 0x40 if subpage else 0, subpage, len(body)) + body
        if page not in pages or subpage:
            raise bad_field(2)
        data = pages[page]()
        # A probe of the length alone returns no parameter, so it clears none.
        if page == 0x2E and size > 4:
            self.flags.clear()
        if page == 0x12 and size > 4:
            self.told_flags = set(self.flags)
        return data[:size]


def _nothing(cdb: bytes) -> bytes:
    return b""


def _misbehave(fault: Fault, timeout_s: float, block: Callable[[str], None]) -> Answer | None:
    """Return what comes in place of the command; None where it is carried out all the same."""
    if fault.stuck_path:
        block(fault.stuck_path)
        fault.over.wait()
        raise Stuck
    # As with a real host, the command is outstanding until its time is over, whether or not
    # whoever sent it is still there.
    if fault.hangs and not fault.over.wait(timeout_s):
        return Answer(host_status=3)
    fault.over.wait(fault.delay_s)
    if fault.drops:
        raise Dropped
    if fault.errno:
        return Answer(errno=fault.errno)
    if fault.host_status or fault.driver_status:
        return Answer(host_status=fault.host_status, driver_status=fault.driver_status)
    if fault.sense:
        return Answer(Status.CHECK_CONDITION, Sense(*fault.sense).fixed())
    return Answer(fault.status) if fault.status else None
