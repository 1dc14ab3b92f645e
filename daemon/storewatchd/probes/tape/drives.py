"""Tape drives as the kernel sees them: there or not, who holds them, and what they transfer.

Statistics: Documentation/scsi/st.rst, "Statistics"; names as node_exporter has them.
"""

from storewatchd.clock import Clock
from storewatchd.core.frames import Frame, ObjectKind, Row, Scope
from storewatchd.errors import ProbeAbsent
from storewatchd.port import Port
from storewatchd.probes.base import counter, gauge, seen
from storewatchd.probes.tape.alert_book import AlertBook
from storewatchd.probes.tape.devices import DeviceProbe, ScsiDevice
from storewatchd.probes.tape.objects import device_found
from storewatchd.probes.tape.streams import Stream, lowest_speed, restored

RUNNING = "running"

_STATISTICS = (
    ("node_tape_io_now", "in_flight", 1.0, "Commands in flight."),
    ("node_tape_io_time_seconds_total", "io_ns", 1e-9, "Time with a command in flight."),
    ("node_tape_io_others_total", "other_cnt", 1.0, "Commands that neither read nor write."),
    ("node_tape_read_bytes_total", "read_byte_cnt", 1.0, "Bytes read."),
    ("node_tape_reads_completed_total", "read_cnt", 1.0, "Completed reads."),
    ("node_tape_read_time_seconds_total", "read_ns", 1e-9, "Time of all reads, added up."),
    ("node_tape_residual_total", "resid_cnt", 1.0, "Transfers that ended short."),
    ("node_tape_written_bytes_total", "write_byte_cnt", 1.0, "Bytes written."),
    ("node_tape_writes_completed_total", "write_cnt", 1.0, "Completed writes."),
    ("node_tape_write_time_seconds_total", "write_ns", 1e-9, "Time of all writes, added up."),
)
FAMILIES = (
    gauge("tape_drive_up", "Whether the kernel can talk to a drive.", "drive"),
    gauge(
        "tape_drive_info",
        "What a drive is, and what it is called now.",
        *("drive", "vendor", "model", "firmware", "nst", "sg", "address", "state"),
    ),
    gauge("tape_drive_holder", "A process that has a drive open.", "drive", "process", "pid"),
    *(
        (gauge if source == "in_flight" else counter)(name, text, "drive", "device")
        for name, source, _, text in _STATISTICS
    ),
    gauge(
        "tape_drive_held_since_timestamp_seconds",
        "Since when a drive has been held, as far as that was seen.",
        "drive",
        unit="seconds",
    ),
    gauge(
        "tape_drive_last_io_timestamp_seconds",
        "When a drive last did something for a host, as far as that was seen.",
        "drive",
        unit="seconds",
    ),
    gauge(
        "tape_drive_last_read_timestamp_seconds",
        "When the pages of a drive were last read, which they are while nobody holds it.",
        "drive",
        unit="seconds",
    ),
    gauge(
        "tape_drive_stream_bytes_per_second",
        "What a drive transferred between the last two looks.",
        *("drive", "direction"),
        unit="bytes",
    ),
    gauge(
        "tape_drive_stream_min_bytes_per_second",
        "The lowest speed at which the tape keeps moving, before compression counts.",
        "drive",
        unit="bytes",
    ),
    counter(
        "tape_drive_writing_seconds_total", "Time in which it was written.", "drive", unit="seconds"
    ),
    counter(
        "tape_drive_slow_writing_seconds_total",
        "Time in which it was written below its lowest speed.",
        "drive",
        unit="seconds",
    ),
)


class DrivesProbe(DeviceProbe):
    """Every tape drive, without a command to it."""

    name = "tape_drives"
    families = FAMILIES
    looks_together = True

    def __init__(self, book: AlertBook, clock: Clock) -> None:
        super().__init__(ObjectKind.TAPE_DRIVE)
        self._book = book
        self._clock = clock
        self._streams: dict[str, Stream] = {}

    def to_plain(self) -> object:
        streams = {name: one.to_plain() for name, one in list(self._streams.items())}
        return {"devices": self._devices.to_plain(), "streams": streams}

    def restore(self, kept: object) -> None:
        if not isinstance(kept, dict):
            return
        self._devices.restore(kept.get("devices"))
        streams = kept.get("streams")
        for name, told in streams.items() if isinstance(streams, dict) else ():
            try:
                self._streams[str(name)] = restored(told)
            except (KeyError, TypeError, ValueError):
                continue  # its history begins anew

    async def collect(self, port: Port, scope: Scope) -> Frame:
        try:
            device = await self._devices.find(port, scope)
        except ProbeAbsent:
            # That it is gone is a fact, and no failure to look.
            ((_, drive),) = scope.labels
            return seen(scope, {"tape_drive_up": [Row((drive,), 0.0)]})
        # Of all drives at once: those that look at the same time share it.
        held = (await port.read("scsi.holders")).value["devices"].get(device.address)
        if held is None:
            raise ProbeAbsent(f"{device.identity} went away")
        holders = [(one["comm"], one["pid"]) for one in held]
        return seen(
            scope,
            rows_of(device, holders) | self._stream_rows(device, is_held=bool(holders)),
            objects=[device_found(ObjectKind.TAPE_DRIVE, device)],
        )

    def _stream_rows(self, device: ScsiDevice, *, is_held: bool) -> dict[str, list[Row]]:
        name = device.identity or ""
        flags, stream = self._book.of(name), self._streams.setdefault(name, Stream())
        lowest = lowest_speed(device.product, flags.generation)
        now = self._clock.now()
        stream.take(
            device.statistics,
            is_held=is_held,
            lowest=lowest,
            wall=now.wall,
            monotonic=now.monotonic,
        )
        told = {
            "tape_drive_held_since_timestamp_seconds": stream.held_since,
            "tape_drive_last_io_timestamp_seconds": stream.io_at if device.statistics else None,
            "tape_drive_last_read_timestamp_seconds": flags.looked_at,
            "tape_drive_stream_min_bytes_per_second": lowest,
            "tape_drive_writing_seconds_total": None if lowest is None else stream.writing_s,
            "tape_drive_slow_writing_seconds_total": None if lowest is None else stream.slow_s,
        }
        rows = {
            family: [] if value is None else [Row((name,), float(value))]
            for family, value in told.items()
        }
        rates = sorted((stream.rates or {}).items())
        rows["tape_drive_stream_bytes_per_second"] = [
            Row((name, direction), rate) for direction, rate in rates
        ]
        return rows


def rows_of(device: ScsiDevice, holders: list[tuple[str, int]]) -> dict[str, list[Row]]:
    """Return what is known of a drive; `holders` are the names and pids of processes."""
    drive = device.identity or ""
    nst = f"n{device.tape}" if device.tape else ""
    facts = (device.vendor, device.product, device.revision, nst, device.sg, device.address)
    rows = {
        "tape_drive_up": [Row((drive,), float(device.state == RUNNING))],
        "tape_drive_info": [Row((drive, *facts, device.state), 1.0)],
        "tape_drive_holder": [
            Row((drive, name, str(pid)), 1.0) for name, pid in sorted(set(holders))
        ],
    }
    for family, source, scale, _ in _STATISTICS:
        value = device.statistics.get(source)
        rows[family] = [] if value is None else [Row((drive, device.tape), value * scale)]
    return rows
