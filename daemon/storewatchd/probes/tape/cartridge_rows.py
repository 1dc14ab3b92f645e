"""The rows of the cartridge in a drive: by its memory, and by page 17h of the drive.

What both tell is taken from page 17h, which goes on counting while the cartridge is loaded; the
memory is read once after the load. A cartridge that neither names has no rows.
"""

from collections.abc import Iterator

from storewatchd.core.frames import Family, Row
from storewatchd.probes.base import counter, gauge
from storewatchd.probes.tape.pages import Pages
from storewatchd.scsi.density import GENERATIONS
from storewatchd.scsi.logs import MB
from storewatchd.scsi.mam import MediumType
from storewatchd.scsi.statistics import VolumeStatistics

_WHO = ("drive", "barcode", "serial")
UNKNOWN_SIZE = 0xFFFFFFFE * MB  # page 17h of a drive that does not know it (mhvtl 1.8.0)
WHOLE = ""  # the label of what is told of all partitions together

CARTRIDGE_FAMILIES: tuple[Family, ...] = (
    gauge(
        "tape_cartridge_info",
        "What the cartridge in a drive is.",
        *(*_WHO, "manufacturer", "type", "density", "generation"),
        *("worm", "write_protect", "made"),
    ),
    counter("tape_cartridge_loads_total", "How often it was loaded.", *_WHO),
    counter("tape_cartridge_written_bytes_total", "Bytes written, ever.", *_WHO, unit="bytes"),
    counter("tape_cartridge_read_bytes_total", "Bytes read, ever.", *_WHO, unit="bytes"),
    gauge(
        "tape_cartridge_last_mount_written_bytes",
        "Bytes written in its last mount.",
        *_WHO,
        unit="bytes",
    ),
    gauge(
        "tape_cartridge_last_mount_read_bytes", "Bytes read in its last mount.", *_WHO, unit="bytes"
    ),
    counter(
        "tape_cartridge_recovered_errors_total",
        "Reads or writes that had to be repeated, ever.",
        *(*_WHO, "direction"),
    ),
    counter(
        "tape_cartridge_unrecovered_errors_total",
        "Reads or writes that failed for good, ever.",
        *(*_WHO, "direction"),
    ),
    counter(
        "tape_cartridge_servo_errors_total",
        "Writes that a servo error interrupted, and those that it ended.",
        *(*_WHO, "fatal"),
    ),
    gauge("tape_cartridge_capacity_bytes", "Native size.", *_WHO, "partition", unit="bytes"),
    gauge("tape_cartridge_used_bytes", "Native size used.", *_WHO, "partition", unit="bytes"),
    gauge("tape_cartridge_remaining_bytes", "Native size left.", *_WHO, "partition", unit="bytes"),
    counter("tape_cartridge_bom_passes_total", "Passes over the beginning of the tape.", *_WHO),
    counter("tape_cartridge_mid_passes_total", "Passes over the middle of the tape.", *_WHO),
    gauge("tape_cartridge_life_remaining_ratio", "Life left.", *_WHO, unit="ratio"),
    gauge("tape_cartridge_temperature_exceeded", "Whether it was ever too hot.", *_WHO),
    gauge(
        "tape_cartridge_last_drive_info",
        "A drive that had it loaded; place 1 is the latest.",
        *(*_WHO, "last_drive", "vendor", "place"),
    ),
)

Found = Iterator[tuple[str, tuple[str, ...], float | None]]


def cartridge_rows(drive: str, pages: Pages) -> dict[str, list[Row]]:
    """Return the rows of the cartridge in a drive, none where it is empty."""
    rows: dict[str, list[Row]] = {family.name: [] for family in CARTRIDGE_FAMILIES}
    who = (pages.barcode, pages.serial)
    if pages.is_loaded is False or not any(who):
        return rows
    for part in (_identity(pages), _use(pages), _errors(pages), _sizes(pages)):
        for family, labels, value in part:
            if value is not None:
                rows[family].append(Row((drive, *who, *labels), float(value)))
    return rows


def _volume(pages: Pages) -> VolumeStatistics:
    return VolumeStatistics(is_valid=False) if pages.volume is None else pages.volume


def _identity(pages: Pages) -> Found:
    medium, volume = pages.medium, _volume(pages)
    kind = medium.medium_type if medium else None
    density = medium.density_code if medium else None
    is_worm = kind is MediumType.WORM if kind is not None else volume.is_worm
    is_protected = volume.is_write_protected
    if is_protected is None and pages.status is not None:
        is_protected = pages.status.is_write_protected
    labels = (
        (medium.manufacturer if medium else "") or volume.manufacturer,
        kind.name.lower() if kind is not None else "",
        "" if density is None else f"{density:02X}",
        GENERATIONS.get(density, "") if density is not None else "",
        _claim(is_worm),
        _claim(is_protected),
        medium.made if medium else "",
    )
    yield "tape_cartridge_info", labels, 1.0
    for place, name in enumerate(medium.last_drives if medium else (), 1):
        yield "tape_cartridge_last_drive_info", (name.serial, name.vendor, str(place)), 1.0


def _claim(claim: bool | None) -> str:
    return "" if claim is None else str(claim).lower()


def _use(pages: Pages) -> Found:
    medium, volume = pages.medium, _volume(pages)
    # A thread count is close to a number of loads, and not the same: the memory comes first. A
    # drive that never threaded the cartridge it has loaded does not count (mhvtl 1.8.0), and gives
    # 0 for life too.
    does_count = volume.threads != 0
    threads = volume.threads if does_count else None
    yield "tape_cartridge_loads_total", (), medium.loads if medium and medium.loads else threads
    for family, now, then in (
        (
            "tape_cartridge_written_bytes_total",
            volume.written_bytes,
            medium.written_bytes if medium else None,
        ),
        (
            "tape_cartridge_read_bytes_total",
            volume.read_bytes,
            medium.read_bytes if medium else None,
        ),
        (
            "tape_cartridge_last_mount_written_bytes",
            volume.last_mount_written_bytes,
            medium.last_load_written_bytes if medium else None,
        ),
        (
            "tape_cartridge_last_mount_read_bytes",
            volume.last_mount_read_bytes,
            medium.last_load_read_bytes if medium else None,
        ),
    ):
        yield family, (), then if now is None else now
    # Drives that do not count passes say 0 (seen of LTO-5), which no loaded tape can have.
    yield "tape_cartridge_bom_passes_total", (), volume.begin_passes or None
    yield "tape_cartridge_mid_passes_total", (), volume.middle_passes or None
    life = volume.life_remaining_ratio if does_count else None
    yield "tape_cartridge_life_remaining_ratio", (), life
    yield "tape_cartridge_temperature_exceeded", (), volume.has_overheated


def _errors(pages: Pages) -> Found:
    volume = _volume(pages)
    for family, direction, value in (
        ("recovered_errors", "write", volume.write_retries),
        ("recovered_errors", "read", volume.read_retries),
        ("unrecovered_errors", "write", volume.unrecovered_write_errors),
        ("unrecovered_errors", "read", volume.unrecovered_read_errors),
        ("servo_errors", "false", volume.suspended_writes),
        ("servo_errors", "true", volume.fatal_suspended_writes),
    ):
        yield f"tape_cartridge_{family}_total", (direction,), value


def _sizes(pages: Pages) -> Found:
    """Yield the sizes from the first source that has them: page 17h by partition, page 31h, the
    memory (of partition 0), page 17h of the whole tape."""
    medium, volume, capacity = pages.medium, _volume(pages), pages.capacity
    remaining: dict[str, int | None] = {}
    sizes: dict[str, int | None] = {}
    if capacity is not None:
        # A partition that is not there has no size.
        for partition, size, left in (
            ("0", capacity.main_capacity_bytes, capacity.main_remaining_bytes),
            ("1", capacity.alternate_capacity_bytes, capacity.alternate_remaining_bytes),
        ):
            if size:
                sizes[partition], remaining[partition] = size, left
    of_memory = (
        ({"0": medium.capacity_bytes}, {"0": medium.remaining_bytes}) if medium else ({}, {})
    )
    for family, sources in (
        (
            "tape_cartridge_capacity_bytes",
            (
                _named(volume.partition_capacity_bytes),
                sizes,
                of_memory[0],
                {WHOLE: volume.capacity_bytes},
            ),
        ),
        (
            "tape_cartridge_used_bytes",
            (_named(volume.partition_used_bytes), {WHOLE: volume.used_bytes}),
        ),
        (
            "tape_cartridge_remaining_bytes",
            (_named(volume.partition_remaining_bytes), remaining, of_memory[1]),
        ),
    ):
        found = next((one for one in sources if any(v is not None for v in one.values())), {})
        for partition, size in found.items():
            yield family, (partition,), None if size == UNKNOWN_SIZE else size


def _named(partitions: tuple[tuple[int, int | None], ...]) -> dict[str, int | None]:
    return {str(partition): size for partition, size in partitions}
