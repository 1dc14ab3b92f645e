"""The rows of a drive, by what its log pages say; what no page gives is left out."""

from collections.abc import Iterator

from storewatchd.core.frames import Family, Row
from storewatchd.probes.base import counter, gauge
from storewatchd.probes.tape.pages import Pages
from storewatchd.scsi.device_status import Activity
from storewatchd.scsi.logs import SequentialAccess

_STATES = {
    Activity.IDLE: "idle",
    Activity.CLEANING: "cleaning",
    Activity.LOADING: "loading",
    Activity.UNLOADING: "unloading",
    Activity.READING: "reading",
    Activity.READING_ENCRYPTED: "reading",
    Activity.WRITING: "writing",
    Activity.WRITING_ENCRYPTED: "writing",
    Activity.LOCATING: "positioning",
    Activity.REWINDING: "positioning",
}
OTHER = "other"  # erasing, a self test, new firmware

# Of page 14h: family and the field that it is.
_LIFE = (
    (counter("tape_drive_loads_total", "Cartridges loaded.", "drive"), "loads"),
    (counter("tape_drive_cleanings_total", "Cleanings.", "drive"), "cleanings"),
    (
        counter("tape_drive_power_on_seconds_total", "Time under power.", "drive", unit="seconds"),
        "power_on_s",
    ),
    (
        counter(
            "tape_drive_head_motion_seconds_total",
            "Time for which tape moved under the head.",
            "drive",
            unit="seconds",
        ),
        "motion_s",
    ),
    (counter("tape_drive_tape_metres_total", "Tape that moved.", "drive"), "tape_metres"),
    (
        gauge(
            "tape_drive_seconds_since_cleaning",
            "Time for which tape moved under the head since the last cleaning.",
            "drive",
            unit="seconds",
        ),
        "motion_since_cleaning_s",
    ),
    (counter("tape_drive_power_cycles_total", "Power cycles.", "drive"), "power_cycles"),
)
_MOUNT_LABELS = ("drive", "barcode", "direction")
# Of pages 02h and 03h: family and the field that it is.
_ERRORS = (
    (
        counter(
            "tape_drive_corrected_errors_total",
            "Errors that were corrected, since the cartridge was loaded.",
            *_MOUNT_LABELS,
        ),
        "corrected",
    ),
    (
        counter(
            "tape_drive_uncorrected_errors_total",
            "Errors that could not be corrected, since the cartridge was loaded.",
            *_MOUNT_LABELS,
        ),
        "uncorrected",
    ),
    (
        counter(
            "tape_drive_processed_bytes_total",
            "Bytes that were read or written, as the drive counts them for its errors.",
            *_MOUNT_LABELS,
            unit="bytes",
        ),
        "processed_bytes",
    ),
)
DRIVE_FAMILIES: tuple[Family, ...] = (
    gauge("tape_drive_state", "What a drive does, 1 for one of the states.", "drive", "state"),
    gauge("tape_drive_temperature_celsius", "Temperature.", "drive", unit="celsius"),
    *(family for family, _ in _LIFE),
    counter(
        "tape_drive_hard_errors_total",
        "Errors that ended a read or write, over the life of the drive.",
        *("drive", "direction"),
    ),
    gauge(
        "tape_drive_duty_cycle_ratio",
        "Share of time, over the drive's own sample.",
        *("drive", "kind"),
        unit="ratio",
    ),
    *(family for family, _ in _ERRORS),
    counter("tape_drive_rewrites_total", "Writes that were repeated.", *_MOUNT_LABELS),
    counter("tape_drive_rereads_total", "Reads that were repeated.", *_MOUNT_LABELS),
    counter(
        "tape_drive_host_bytes_total",
        "Bytes of hosts, before compression, since the cartridge was loaded.",
        *("drive", "direction"),
        unit="bytes",
    ),
    counter(
        "tape_drive_medium_bytes_total",
        "Bytes on the tape, after compression, since the cartridge was loaded.",
        *("drive", "direction"),
        unit="bytes",
    ),
    gauge(
        "tape_drive_compression_ratio",
        "Compression of this cartridge; 2 is two to one.",
        *("drive", "direction"),
        unit="ratio",
    ),
    counter(
        "tape_drive_port_errors_total",
        "Errors of a drive's own port, since power on.",
        *("drive", "port", "kind"),
    ),
)

Found = Iterator[tuple[str, tuple[str, ...], float | None]]


def drive_rows(drive: str, pages: Pages) -> dict[str, list[Row]]:
    """Return the rows of a drive."""
    rows: dict[str, list[Row]] = {family.name: [] for family in DRIVE_FAMILIES}
    for part in (_states(pages), _life(pages), _ports(pages), _mount(pages)):
        for family, labels, value in part:
            if value is not None:
                rows[family].append(Row((drive, *labels), float(value)))
    return rows


def _states(pages: Pages) -> Found:
    status = pages.status
    if status is not None and status.activity is not None:
        state = _STATES.get(status.activity, OTHER)
        for one in sorted({*_STATES.values(), OTHER}):
            yield "tape_drive_state", (one,), one == state
    if pages.temperature is not None:
        yield "tape_drive_temperature_celsius", (), pages.temperature.celsius


def _life(pages: Pages) -> Found:
    life = pages.statistics
    if life is None:
        return
    for family, field in _LIFE:
        yield family.name, (), getattr(life, field)
    yield "tape_drive_hard_errors_total", ("write",), life.hard_write_errors
    yield "tape_drive_hard_errors_total", ("read",), life.hard_read_errors
    for kind in ("read", "write", "activity", "empty", "ready"):
        yield "tape_drive_duty_cycle_ratio", (kind,), getattr(life, f"{kind}_duty_ratio")


def _ports(pages: Pages) -> Found:
    phys = {(port.port, phy.phy): phy for port in pages.ports or () for phy in port.phys}
    for (port, number), phy in phys.items():
        for kind, value in (
            ("invalid_dwords", phy.invalid_dwords),
            ("disparity_errors", phy.disparity_errors),
            ("synchronization_losses", phy.synchronization_losses),
            ("reset_problems", phy.reset_problems),
        ):
            yield "tape_drive_port_errors_total", (f"{port}.{number}", kind), value


def _mount(pages: Pages) -> Found:
    """Yield what is counted from the load of a cartridge on: of an empty drive that is over."""
    if pages.is_loaded is False:
        return
    for direction, errors in (("write", pages.write_errors), ("read", pages.read_errors)):
        if errors is not None:
            labels = (pages.barcode, direction)
            for family, field in _ERRORS:
                yield family.name, labels, getattr(errors, field)
            again = "rewrites" if direction == "write" else "rereads"
            yield f"tape_drive_{again}_total", labels, errors.retries
    yield from _bytes(pages.access)
    if pages.compression is not None:
        yield "tape_drive_compression_ratio", ("read",), pages.compression.read_ratio
        yield "tape_drive_compression_ratio", ("write",), pages.compression.write_ratio


def _bytes(access: SequentialAccess | None) -> Found:
    if access is not None:
        yield "tape_drive_host_bytes_total", ("write",), access.host_written_bytes
        yield "tape_drive_host_bytes_total", ("read",), access.host_read_bytes
        yield "tape_drive_medium_bytes_total", ("write",), access.medium_written_bytes
        yield "tape_drive_medium_bytes_total", ("read",), access.medium_read_bytes
