"""Tape drives as the kernel sees them: there or not, who holds them, and what they transfer.

Statistics: Documentation/scsi/st.rst, "Statistics"; names as node_exporter has them.
"""

from storewatchd.core.frames import Frame, ObjectKind, Row, Scope
from storewatchd.errors import ProbeAbsent
from storewatchd.port import Port
from storewatchd.probes.base import counter, gauge, seen
from storewatchd.probes.tape.devices import DeviceProbe, ScsiDevice
from storewatchd.probes.tape.objects import device_found

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
)


class DrivesProbe(DeviceProbe):
    """Every tape drive, without a command to it."""

    name = "tape_drives"
    families = FAMILIES

    def __init__(self) -> None:
        super().__init__(ObjectKind.TAPE_DRIVE)

    async def collect(self, port: Port, scope: Scope) -> Frame:
        try:
            device = await self._devices.find(port, scope)
        except ProbeAbsent:
            # That it is gone is a fact, and no failure to look.
            ((_, drive),) = scope.labels
            return seen(scope, {"tape_drive_up": [Row((drive,), 0.0)]})
        answer = (await port.read("scsi.holders", device.address)).value
        if not answer["exists"]:
            raise ProbeAbsent(f"{device.identity} went away")
        return seen(
            scope,
            rows_of(device, [(one["comm"], one["pid"]) for one in answer["holders"]]),
            objects=[device_found(ObjectKind.TAPE_DRIVE, device)],
        )


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
