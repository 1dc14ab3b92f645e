"""Decodes log pages: what any of them holds, and the small ones of tape drives.

SPC-4 7.3.2 (page and parameter formats), SSC-4 8.2 and the vendors' manuals for the pages. Every
number is in base units. A parameter that is absent, or that the drive fills with ones because it
does not know it or has counted to the end, is None and never 0.
"""

from collections.abc import Collection
from dataclasses import dataclass

from storewatchd.errors import Malformed
from storewatchd.scsi.fields import check_rest, span, text, uint

MB = 10**6  # T10's megabyte; LTO-6 drives that report 2469271 hold 2.5 TB, so IBM's too
MIB = 2**20
FLAGS = range(1, 65)

SUPPORTED_PAGES = 0x00
WRITE_ERRORS = 0x02
READ_ERRORS = 0x03
SEQUENTIAL_ACCESS = 0x0C
TEMPERATURE = 0x0D
DEVICE_STATUS = 0x11
TAPEALERT_RESPONSE = 0x12
DEVICE_STATISTICS = 0x14
VOLUME_STATISTICS = 0x17
PROTOCOL_PORT = 0x18
DATA_COMPRESSION = 0x1B
TAPEALERT = 0x2E  # reading it clears it: decoded here, asked for by nobody but a broker
TAPE_CAPACITY = 0x31


@dataclass(frozen=True, slots=True)
class Parameter:
    """One log parameter: its code, its control byte, its bytes, and where in the page they are."""

    code: int
    control: int
    value: bytes
    at: int


@dataclass(frozen=True, slots=True)
class LogPage:
    """A log page. `subpage` is 0 where the page has none."""

    page: int
    subpage: int
    parameters: tuple[Parameter, ...]

    @property
    def what(self) -> str:
        return _what(self.page)

    def value(self, code: int) -> bytes | None:
        """Return the bytes of a parameter, or None where it is absent or empty."""
        found = self.find(code)
        return found.value if found else None

    def find(self, code: int) -> Parameter | None:
        for parameter in self.parameters:
            if parameter.code == code and parameter.value:
                return parameter
        return None

    def number(self, code: int, unit: int = 1) -> int | None:
        """Return a counter times its unit, or None where it is absent or all ones.

        Raises:
            Malformed: it is longer than any counter.
        """
        found = self.find(code)
        if found is None:
            return None
        if len(found.value) > 8:
            expected = f"a counter of at most 8 bytes, found {len(found.value)}"
            raise Malformed(self.what, found.at, expected)
        if len(found.value) > 1 and not found.value.strip(b"\xff"):
            return None
        return int.from_bytes(found.value, "big") * unit

    def flag(self, code: int) -> bool | None:
        """Return whether a parameter is not zero, or None where it is absent."""
        number = self.number(code)
        return None if number is None else number != 0

    def ratio(self, code: int, *, at_most: float | None = None) -> float | None:
        """Return hundredths as a ratio, or None where they are absent or beyond what can be."""
        number = self.number(code)
        if number is None or (at_most is not None and number > at_most * 100):
            return None
        return number / 100

    def words(self, code: int) -> str:
        """Return an ASCII parameter, or "" where it is absent or blank."""
        return text(self.value(code) or b"")


def parse_log_page(raw: bytes, page: int, subpage: int = 0) -> LogPage:
    """Decode a log page that was asked for by its code.

    Raises:
        Malformed: it is another page, is cut, has no parameter, or contradicts itself.
    """
    content = _content(raw, page, subpage)
    what = _what(page)
    found: dict[int, Parameter] = {}
    at = 0
    # mhvtl 1.8.0 ends page 17h with zeros that would read as parameter 0 again, without a value.
    while at < len(content) and content[at:].strip(b"\0"):
        code, control = uint(content, at, 2, what, 4), uint(content, at + 2, 1, what, 4)
        value = span(content, at + 4, uint(content, at + 3, 1, what, 4), what, 4)
        parameter = Parameter(code, control, value, at + 8)
        known = found.setdefault(code, parameter)
        if known.value != parameter.value:
            raise Malformed(what, at + 8, f"one value of parameter {code:04X}h, found another")
        at += 4 + len(value)
    if not found:
        raise Malformed(what, 4, "a parameter")
    return LogPage(page, subpage, tuple(found.values()))


def parse_supported_pages(raw: bytes) -> tuple[int, ...]:
    """Return the codes of the log pages that a device has, as it lists them (page 00h).

    Raises:
        Malformed: it is another page, is cut, or does not list itself.
    """
    content = _content(raw, SUPPORTED_PAGES, 0)
    if SUPPORTED_PAGES not in content[:1]:
        raise Malformed(_what(SUPPORTED_PAGES), 4, "page 00h as the first of the list")
    return tuple(code & 0x3F for code in content)


@dataclass(frozen=True, slots=True)
class ErrorCounters:
    """Pages 02h (write) and 03h (read): errors since the cartridge was loaded (SPC-4 7.3.9).

    `retries` are rewrites or rereads.
    """

    corrected_fast: int | None
    corrected_slow: int | None
    retries: int | None
    corrected: int | None
    corrections: int | None
    processed_bytes: int | None
    uncorrected: int | None


def parse_error_counters(raw: bytes, page: int) -> ErrorCounters:
    """Decode page 02h or 03h.

    Raises:
        Malformed: as `parse_log_page`.
    """
    log = parse_log_page(raw, page)
    return ErrorCounters(*(log.number(code) for code in range(7)))


@dataclass(frozen=True, slots=True)
class SequentialAccess:
    """Page 0Ch (SSC-4 8.2.2). Bytes of the host are before compression, of the medium after it.

    The byte counters belong to the cartridge that is loaded. `used_bytes` is from the beginning of
    the partition to the end of data, `position_bytes` to where the tape is; `capacity_bytes` is to
    early warning, `reserve_bytes` from there to the end.
    """

    host_written_bytes: int | None
    medium_written_bytes: int | None
    medium_read_bytes: int | None
    host_read_bytes: int | None
    used_bytes: int | None
    capacity_bytes: int | None
    reserve_bytes: int | None
    position_bytes: int | None
    buffer_bytes: int | None
    is_cleaning_required: bool | None


def parse_sequential_access(raw: bytes) -> SequentialAccess:
    """Decode page 0Ch.

    Raises:
        Malformed: as `parse_log_page`.
    """
    log = parse_log_page(raw, SEQUENTIAL_ACCESS)
    return SequentialAccess(
        host_written_bytes=log.number(0x0000),
        medium_written_bytes=log.number(0x0001),
        medium_read_bytes=log.number(0x0002),
        host_read_bytes=log.number(0x0003),
        used_bytes=log.number(0x0004, MB),
        capacity_bytes=log.number(0x0005, MB),
        reserve_bytes=log.number(0x0006, MB),
        position_bytes=log.number(0x0007, MB),
        buffer_bytes=log.number(0x0008, MB),
        is_cleaning_required=log.flag(0x0100),
    )


@dataclass(frozen=True, slots=True)
class Temperature:
    """Page 0Dh (SPC-4 7.3.21), in degrees Celsius; 0 stands for 0 and all that is colder."""

    celsius: int | None
    reference_celsius: int | None


def parse_temperature(raw: bytes) -> Temperature:
    """Decode page 0Dh.

    Raises:
        Malformed: as `parse_log_page`, or a temperature is not of two bytes.
    """
    log = parse_log_page(raw, TEMPERATURE)
    return Temperature(_celsius(log, 0x0000), _celsius(log, 0x0001))


def _celsius(log: LogPage, code: int) -> int | None:
    found = log.find(code)
    if found is None:
        return None
    degrees = _exactly(log, found, 2)[1]
    return None if degrees == 0xFF else degrees


@dataclass(frozen=True, slots=True)
class DataCompression:
    """Page 1Bh (SSC-4 8.2.9): of the cartridge that is loaded. A ratio of 2 is two to one."""

    read_ratio: float | None
    write_ratio: float | None
    host_read_bytes: int | None
    medium_read_bytes: int | None
    host_written_bytes: int | None
    medium_written_bytes: int | None
    is_enabled: bool | None


def parse_data_compression(raw: bytes) -> DataCompression:
    """Decode page 1Bh.

    Raises:
        Malformed: as `parse_log_page`.
    """
    log = parse_log_page(raw, DATA_COMPRESSION)
    return DataCompression(
        read_ratio=log.ratio(0x0000),
        write_ratio=log.ratio(0x0001),
        host_read_bytes=_in_two_parts(log, 0x0002),
        medium_read_bytes=_in_two_parts(log, 0x0004),
        host_written_bytes=_in_two_parts(log, 0x0006),
        medium_written_bytes=_in_two_parts(log, 0x0008),
        is_enabled=log.flag(0x0100),
    )


def _in_two_parts(log: LogPage, code: int) -> int | None:
    # Whole megabytes, and the difference to the true number in the parameter that follows. Where a
    # drive rounds to the nearest megabyte, the difference may be negative (HP, LTO manuals).
    megabytes, rest = log.number(code), log.value(code + 1)
    if megabytes is None or rest is None:
        return None
    difference = int.from_bytes(rest, "big", signed=True)
    return megabytes * MB + difference if abs(difference) <= MIB else None


@dataclass(frozen=True, slots=True)
class TapeCapacity:
    """Page 31h, which is the vendors': capacities of two partitions, without compression."""

    main_remaining_bytes: int | None
    alternate_remaining_bytes: int | None
    main_capacity_bytes: int | None
    alternate_capacity_bytes: int | None


def parse_tape_capacity(raw: bytes, *, unit_bytes: int = MIB) -> TapeCapacity:
    """Decode page 31h.

    HP and IBM count in 2^20 bytes; Seagate, Certance and Quantum's LTO drives in 10^6.

    Raises:
        Malformed: as `parse_log_page`.
    """
    log = parse_log_page(raw, TAPE_CAPACITY)
    return TapeCapacity(*(log.number(code, unit_bytes) for code in (1, 2, 3, 4)))


@dataclass(frozen=True, slots=True)
class TapeAlerts:
    """Which of the 64 flags are set, and which the page leaves out: of those nothing is known."""

    active: frozenset[int]
    missing: frozenset[int] = frozenset()


def parse_tapealert_response(raw: bytes) -> TapeAlerts:
    """Decode page 12h, which does not clear the flags (SSC-4 8.2.4: the first flag is bit 7).

    Raises:
        Malformed: as `parse_log_page`, or there are no flags in it.
    """
    log = parse_log_page(raw, TAPEALERT_RESPONSE)
    found = log.find(0x0000)
    if found is None:
        raise Malformed(log.what, 4, "parameter 0000h")
    bits = int.from_bytes(_exactly(log, found, 8), "big")
    return TapeAlerts(frozenset(flag for flag in FLAGS if bits >> (64 - flag) & 1))


def parse_tapealert(raw: bytes) -> TapeAlerts:
    """Decode page 2Eh, of a drive or a library (SSC-4 8.2.3, SMC-3 7.2.2).

    Raises:
        Malformed: as `parse_log_page`, or a flag is not of one byte.
    """
    log = parse_log_page(raw, TAPEALERT)
    flags = {one.code: _exactly(log, one, 1)[0] for one in log.parameters if one.code in FLAGS}
    active = frozenset(flag for flag, value in flags.items() if value & 0x01)
    return TapeAlerts(active, _missing(flags))


def _missing(flags: Collection[int]) -> frozenset[int]:
    return frozenset(flag for flag in FLAGS if flag not in flags)


def _exactly(log: LogPage, parameter: Parameter, length: int) -> bytes:
    if len(parameter.value) != length:
        expected = f"a parameter of {length} bytes, found {len(parameter.value)}"
        raise Malformed(log.what, parameter.at, expected)
    return parameter.value


def _what(page: int) -> str:
    return f"log page {page:02X}h"


def _content(raw: bytes, page: int, subpage: int) -> bytes:
    # Byte 0: DS, SPF, page code; a wrong code is what sg_logs decodes without a word.
    what = _what(page)
    length = uint(raw, 2, 2, what)
    found = (raw[0] & 0x3F, raw[1])
    if found != (page, subpage):
        expected = f"page {page:02X}h/{subpage:02X}h, found {found[0]:02X}h/{found[1]:02X}h"
        raise Malformed(what, 0, expected)
    content = span(raw, 4, length, what)
    check_rest(raw, 4 + length, what)
    return content
