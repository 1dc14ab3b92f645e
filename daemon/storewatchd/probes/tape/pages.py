"""What a drive and the cartridge in it say of themselves: the pages that are read, decoded."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from storewatchd.scsi.device_status import DeviceStatus, parse_device_status
from storewatchd.scsi.logs import (
    DATA_COMPRESSION,
    DEVICE_STATISTICS,
    DEVICE_STATUS,
    MB,
    PROTOCOL_PORT,
    READ_ERRORS,
    SEQUENTIAL_ACCESS,
    TAPE_CAPACITY,
    TAPEALERT_RESPONSE,
    TEMPERATURE,
    VOLUME_STATISTICS,
    WRITE_ERRORS,
    DataCompression,
    ErrorCounters,
    SequentialAccess,
    TapeAlerts,
    TapeCapacity,
    Temperature,
    parse_data_compression,
    parse_error_counters,
    parse_sequential_access,
    parse_tape_capacity,
    parse_tapealert_response,
    parse_temperature,
)
from storewatchd.scsi.mam import Medium
from storewatchd.scsi.ports import Port as DrivePort
from storewatchd.scsi.ports import parse_ports
from storewatchd.scsi.statistics import (
    DeviceStatistics,
    VolumeStatistics,
    parse_device_statistics,
    parse_volume_statistics,
)

AT_EVERY_LOOK = (DEVICE_STATUS, TAPEALERT_RESPONSE)
"""Asked as soon as something happens; the second only where the first does not say that it would
tell nothing new."""

OF_THE_DRIVE = (SEQUENTIAL_ACCESS, TEMPERATURE, DEVICE_STATISTICS, PROTOCOL_PORT)
OF_THE_CARTRIDGE = (WRITE_ERRORS, READ_ERRORS, VOLUME_STATISTICS, DATA_COMPRESSION, TAPE_CAPACITY)
"""Pages that mean nothing while the drive is empty."""

_COUNT_CAPACITY_IN_MB = ("SEAGATE", "CERTANCE", "QUANTUM")  # page 31h; others count in 2^20


@dataclass(frozen=True, slots=True)
class Pages:
    """What is known of a drive. A page that it does not have, or that was not read because the
    drive is empty, is None."""

    status: DeviceStatus | None = None
    alerts: TapeAlerts | None = None
    access: SequentialAccess | None = None
    temperature: Temperature | None = None
    statistics: DeviceStatistics | None = None
    ports: tuple[DrivePort, ...] | None = None
    write_errors: ErrorCounters | None = None
    read_errors: ErrorCounters | None = None
    volume: VolumeStatistics | None = None
    compression: DataCompression | None = None
    capacity: TapeCapacity | None = None
    medium: Medium | None = None
    """The memory of the cartridge, as it was after it was loaded."""

    @property
    def is_loaded(self) -> bool | None:
        """Whether a cartridge is loaded, None where no page tells. One that is on its way in, or
        was ejected and not taken out, is not."""
        if self.status is not None:
            return self.status.is_medium_present and self.status.is_mounted
        return None if self.volume is None else self.volume.is_valid

    @property
    def cleaning(self) -> tuple[bool | None, bool | None]:
        """Whether the drive says that it must be cleaned, and that it should be; None where no page
        tells. Its TapeAlert flags may say so besides."""
        required = [
            None if self.status is None else self.status.is_cleaning_required,
            None if self.access is None else self.access.is_cleaning_required,
        ]
        requested = None if self.status is None else self.status.is_cleaning_requested
        return either(required), requested

    @property
    def barcode(self) -> str:
        return self._name("barcode")

    @property
    def serial(self) -> str:
        return self._name("serial")

    def _name(self, field: str) -> str:
        for one in (self.medium, self.volume):
            if one is not None and getattr(one, field):
                return str(getattr(one, field))
        return ""


_PARSERS: Mapping[int, tuple[str, Callable[[bytes], Any]]] = {
    DEVICE_STATUS: ("status", parse_device_status),
    TAPEALERT_RESPONSE: ("alerts", parse_tapealert_response),
    SEQUENTIAL_ACCESS: ("access", parse_sequential_access),
    TEMPERATURE: ("temperature", parse_temperature),
    DEVICE_STATISTICS: ("statistics", parse_device_statistics),
    PROTOCOL_PORT: ("ports", parse_ports),
    WRITE_ERRORS: ("write_errors", lambda raw: parse_error_counters(raw, WRITE_ERRORS)),
    READ_ERRORS: ("read_errors", lambda raw: parse_error_counters(raw, READ_ERRORS)),
    VOLUME_STATISTICS: ("volume", parse_volume_statistics),
    DATA_COMPRESSION: ("compression", parse_data_compression),
    TAPE_CAPACITY: ("capacity", parse_tape_capacity),
}
KNOWN_PAGES = frozenset(_PARSERS)


def either(claims: Iterable[bool | None]) -> bool | None:
    """Return whether any of several claims is so, None where nothing is known of any."""
    known = [claim for claim in claims if claim is not None]
    return any(known) if known else None


def decode(page: int, raw: bytes | None, *, vendor: str) -> dict[str, Any]:
    """Return a page as the field of Pages that it is; None for one that the drive does not have.

    Raises:
        Malformed: as its parser.
    """
    name, parse = _PARSERS[page]
    if raw is not None and page == TAPE_CAPACITY and vendor.upper() in _COUNT_CAPACITY_IN_MB:
        return {name: parse_tape_capacity(raw, unit_bytes=MB)}
    return {name: None if raw is None else parse(raw)}
