"""The whole of what may ever be asked of the reader: pure data.

Requests name a row and an object, never a command. Objects are ids; the one exception is the path
of `statvfs.path`, which gives away only what a path is and how full its file system is. A *key* is
what one stuck read can block: while a worker holds it, no second one is started for it.

Safety: P0 passive; P1 commands without side effects, sent only while nobody holds the device; P2
(log page 2Eh, whose read clears TapeAlert's flags) consumes what somebody else may wait for, and is
run only by a reader whose command line says so, for whoever asks for the flags. What moves anything
(P3) is in no row.
"""

import json
from dataclasses import asdict, dataclass

from storewatch_reader import kernel_log, scst
from storewatch_reader.digests import digest_of

PROTOCOL = 2


@dataclass(frozen=True)
class Row:
    """One read. Bounds are seconds: when the asker gets an answer, and when the worker is
    killed."""

    name: str
    verb: str  # read, tree, tool or watch
    reads: str
    object: str = ""  # "" for none, "path", "scsi" for H:C:T:L, else a kind of name: server._NAMES
    safety: str = "P0"
    answer_by_s: float = 5.0
    kill_after_s: float = 30.0

    def key(self, object_id: str) -> str:
        """Return what a stuck read of this object blocks.

        A path has a key of its own, not its mount's: a symbolic link may lead to another mount,
        and finding out where could block the reader itself.
        """
        return f"{self.name}:{object_id}" if object_id else self.name

    def host(self, _: str) -> str:
        """Return the SCSI host whose slots a read takes one of; empty for none."""
        return ""


@dataclass(frozen=True)
class TreeRow(Row):
    """A pass over a tree of attributes: what is below `root`, or below the object in it, and
    matches; the patterns are those of `storewatch_reader.trees`."""

    root: str = ""  # below the sysfs root
    attributes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ToolRow(Row):
    """A tool with its exact arguments, of which `{sg}` is the device's node; its output is the
    answer. Unmoving and bounded, whatever the device is."""

    argv: tuple[str, ...] = ()
    max_bytes: int = 1 << 16

    def key(self, object_id: str) -> str:
        return f"scsi:{object_id}"

    def host(self, object_id: str) -> str:
        return f"scsi.host:{object_id.partition(':')[0]}"


@dataclass(frozen=True)
class WatchRow(Row):
    """A device that is listened to as long as somebody asks: `node` is below the --dev root. Of a
    log the lines that match are passed on; of SCST's events those with a code, of its core."""

    node: str = ""
    patterns: tuple[tuple[str, str], ...] = ()
    codes: tuple[int, ...] = ()


def _tool(name: str, reads: str, *argv: str, max_bytes: int = 1 << 16) -> ToolRow:
    # A drive that rewinds, or a library in motion, takes 10 s and more: that is slow, not stuck.
    return ToolRow(
        name,
        "tool",
        reads,
        object="scsi",
        safety="P1",
        answer_by_s=30.0,
        kill_after_s=180.0,
        argv=argv,
        max_bytes=max_bytes,
    )


def _raw(name: str, reads: str, length: int, cdb: str) -> ToolRow:
    argv = ("sg_raw", "-b", "-t", "60", "-r", str(length), "{sg}", *cdb.split())
    return _tool(name, reads, *argv, max_bytes=length)


LOG_PAGES = {
    0x00: "supported log pages",
    0x02: "write error counters",
    0x03: "read error counters",
    0x0C: "sequential access device",
    0x0D: "temperature",
    0x11: "DT device status",
    0x12: "TapeAlert response",
    0x14: "device statistics",
    0x17: "volume statistics",
    0x18: "protocol specific port",
    0x1B: "data compression",
    0x31: "tape capacity",
}
"""The log pages that may be read of an idle drive, by number. None of them clears anything; one
that a drive does not list in page 00h is never asked of it."""

ELEMENTS_BYTES = 65_528
ALL_ELEMENTS_BYTES = 1 << 20

TOOL_ROWS: tuple[ToolRow, ...] = (
    _raw("scsi.inquiry", "INQUIRY: what a device is", 252, "12 00 00 00 fc 00"),
    _raw(
        "scsi.serial",
        "INQUIRY, page 80h: its serial number",
        252,
        "12 01 80 00 fc 00",
    ),
    _raw(
        "changer.addresses",
        "MODE SENSE, page 1Dh: how many elements a library has, and where",
        136,
        "1a 08 1d 00 88 00",
    ),
    # VOLTAG, all types; CURDATA keeps the library from moving, DVCID tells which drive is where.
    _raw(
        "changer.elements",
        "READ ELEMENT STATUS, without motion: what is in every element of a library",
        ELEMENTS_BYTES,
        "b8 10 00 00 ff ff 03 00 ff f8 00 00",
    ),
    _raw(
        "changer.elements.all",
        "READ ELEMENT STATUS, without motion: the same of a library with thousands of slots",
        ALL_ELEMENTS_BYTES,
        "b8 10 00 00 ff ff 03 10 00 00 00 00",
    ),
    *(
        _tool(
            f"tape.log.{page:02x}",
            f"LOG SENSE, page {page:02X}h: {about}",
            *("sg_logs", "-r", "-m", "8192", "-p", f"0x{page:02x}", "{sg}"),
        )
        for page, about in LOG_PAGES.items()
    ),
    # Who asks is the backup program itself, which holds the device and waits: sooner answered, and
    # not put off for that.
    ToolRow(
        "scsi.tapealert",
        "tool",
        "LOG SENSE, page 2Eh: the TapeAlert flags, which that clears; for who asks for them",
        object="scsi",
        safety="P2",
        answer_by_s=20.0,
        kill_after_s=180.0,
        argv=("sg_logs", "-r", "-m", "8192", "-p", "0x2e", "{sg}"),
    ),
    _tool(
        "changer.mtx",
        "mtx status: what is in a library, as a second opinion and where the report is no use",
        *("mtx", "-f", "{sg}", "status"),
        max_bytes=1 << 21,
    ),
    _tool(
        "tape.attributes",
        "READ ATTRIBUTE: the memory of the loaded cartridge",
        "sg_read_attr",
        "-r",
        "{sg}",
    ),
)


def _scst(
    name: str,
    reads: str,
    attributes: tuple[str, ...],
    *,
    answer_by_s: float = 5.0,
    kill_after_s: float = 30.0,
) -> TreeRow:
    return TreeRow(
        name,
        "tree",
        reads,
        answer_by_s=answer_by_s,
        kill_after_s=kill_after_s,
        root="kernel/scst_tgt",
        attributes=attributes,
    )


SCST_ROWS = (
    _scst("scst.state", "/sys/kernel/scst_tgt: whether SCST is loaded", scst.STATE),
    TreeRow(
        "scst.modules",
        "tree",
        "/sys/module: which modules of SCST are loaded",
        root="module",
        attributes=scst.MODULES,
    ),
    _scst("scst.cheap", "/sys/kernel/scst_tgt: what SCST answers at once", scst.CHEAP),
    _scst("scst.steady", "/sys/kernel/scst_tgt: what hardly ever changes", scst.STEADY),
    _scst(
        "scst.latency",
        "/sys/kernel/scst_tgt: how long commands took, while measure_latency is on, once a minute",
        scst.LATENCY,
        answer_by_s=15.0,
        kill_after_s=60.0,
    ),
    # One that is stuck behind a hung command must not blind the others: a key of its own.
    _scst(
        "scst.queued",
        "/sys/kernel/scst_tgt: what SCST answers from a work queue, every few minutes",
        scst.QUEUED,
        answer_by_s=20.0,
        kill_after_s=120.0,
    ),
)

_SCSI_DEVICE = tuple(
    f"scsi_device/*/device/{name}"
    for name in (
        *("vendor", "model", "rev", "type", "state", "vpd_pg80", "vpd_pg83"),
        *("iorequest_cnt", "iodone_cnt", "ioerr_cnt"),
        *("scsi_generic/*/", "scsi_tape/*/", "scsi_changer/*/"),
    )
)
_TAPE_STATISTICS = tuple(
    f"scsi_tape/st*/stats/{name}"
    for name in (
        *("in_flight", "io_ns", "other_cnt", "read_byte_cnt", "read_cnt", "read_ns"),
        *("resid_cnt", "write_byte_cnt", "write_cnt", "write_ns"),
    )
)

FC_ROWS = (
    TreeRow(
        "sys.fc",
        "tree",
        "/sys/class/fc_host and fc_remote_ports: Fibre Channel ports, their state and speed",
        root="class",
        attributes=(
            *("fc_host/*/port_name", "fc_host/*/port_state", "fc_host/*/speed"),
            *("fc_host/*/port_type", "fc_host/*/port_id", "fc_host/*/fabric_name"),
            *("fc_host/*/symbolic_name", "fc_host/*/supported_classes"),
            *("fc_host/*/supported_speeds", "fc_host/*/dev_loss_tmo"),
            "fc_remote_ports/*/port_state",
        ),
    ),
    # Some drivers ask the adapter's firmware for each of these.
    TreeRow(
        "sys.fc.statistics",
        "tree",
        "/sys/class/fc_host/hostN/statistics: what the adapter of a port counts, once a minute",
        object="fc_host",
        answer_by_s=15.0,
        kill_after_s=60.0,
        root="class/fc_host",
        attributes=tuple(
            f"statistics/{name}"
            for name in (
                *("dumped_frames", "error_frames", "fcp_packet_aborts", "invalid_crc_count"),
                *("invalid_tx_word_count", "link_failure_count", "loss_of_signal_count"),
                *("loss_of_sync_count", "nos_count", "rx_frames", "rx_words"),
                *("seconds_since_last_reset", "tx_frames", "tx_words"),
            )
        ),
    ),
)

# Without --all a pattern matches no unit that is not active.
VTL_UNITS_COMMAND = (
    *("systemctl", "show", "--all", "--property"),
    "Id,ActiveState,SubState,Result,ActiveExitTimestampMonotonic",
    *("vtllibrary@*.service", "vtltape@*.service"),
)

VTL_ROWS = (
    TreeRow(
        "vtl.module",
        "tree",
        "/sys/module/mhvtl, bus/mhvtl and devices/mhvtl_pseudo: its version and its SCSI hosts",
        attributes=(
            *("module/mhvtl/", "module/mhvtl/version", "module/mhvtl/initstate"),
            *("bus/mhvtl/drivers/mhvtl/", "devices/mhvtl_pseudo*/adapter*/host*/"),
        ),
    ),
    Row(
        "vtl.daemons",
        "read",
        "/proc/PID/stat, cmdline and cgroup: the daemons of mhvtl, and tgtd",
    ),
    Row("vtl.units", "read", f"{' '.join(VTL_UNITS_COMMAND)}: the units of mhvtl"),
    Row("vtl.config", "read", "/etc/mhvtl/device.conf: which libraries and drives there should be"),
    # A store has tens of thousands of files, and its file system may be slow, or hang.
    Row(
        "vtl.media",
        "read",
        "stat(2) of the files in the media stores of /etc/mhvtl/device.conf, and their memories:"
        " what they take and could take; /etc/mhvtl/library_contents.*: whose they are",
        answer_by_s=60.0,
        kill_after_s=600.0,
    ),
)

BOOT_ROWS = (
    Row("boot.kernels", "read", "/boot: kernels, initial file systems, what GRUB starts, room"),
    Row(
        "boot.modules",
        "read",
        "/lib/modules/*/modules.dep and /proc/modules: SCST's and mhvtl's modules",
        answer_by_s=15.0,
        kill_after_s=60.0,
    ),
    Row("boot.units", "read", "/etc/systemd/system and /etc/rc?.d: what starts with the machine"),
    Row("boot.fstab", "read", "/etc/fstab, without options, and whether its devices are there"),
    Row(
        "boot.crypttab",
        "read",
        "/etc/crypttab, without keys and options, and whether each is there",
    ),
    Row("boot.scst", "read", "/etc/scst.conf: targets, LUNs and devices, without any secret"),
    Row(
        "boot.module",
        "read",
        "/lib/modules/KERNEL/: for which kernel a module was built, and whether it is signed",
        object="module",
        answer_by_s=15.0,
        kill_after_s=60.0,
    ),
    TreeRow(
        "boot.security",
        "tree",
        "/sys/kernel/security/lockdown, sig_enforce and efivars: must modules be signed?",
        attributes=(
            *("kernel/security/lockdown", "module/module/parameters/sig_enforce"),
            "firmware/efi/efivars/SecureBoot-*",
        ),
    ),
    Row(
        "boot.tape_names",
        "read",
        "/etc/bareos and /etc/bacula: the lines Archive Device and Changer Device, and no other",
    ),
    Row(
        "boot.reboot",
        "read",
        "/run/systemd/shutdown/scheduled and /run/reboot-required: is a start planned?",
    ),
)

WATCH_ROWS = (
    WatchRow(
        "kernel.log",
        "watch",
        "/dev/kmsg, from now on: lines about storage",
        node="kmsg",
        patterns=kernel_log.PATTERNS,
    ),
    # Never code 5: who takes it may take an answer from the helper that waits for it. And none by
    # a wildcard, for that is among those.
    WatchRow(
        "scst.events",
        "watch",
        "/dev/scst_event, codes 1, 2, 4 and 6 of SCST core: what hosts did, and where in vain",
        node="scst_event",
        codes=(1, 2, 4, 6),
    ),
)

ROWS: dict[str, Row] = {
    row.name: row
    for row in (
        Row(
            "statvfs.path",
            "read",
            "stat(2) and statvfs(2) of a path: what it is, its mount, sizes and inodes",
            object="path",
        ),
        Row(
            "file.size",
            "read",
            "stat(2) of a path: whether it is there, and its size",
            object="path",
        ),
        Row(
            "scsi.holders",
            "read",
            "/sys/module/sg/refcnt and st/refcnt, and where these do not say 0 /proc/PID/fd: which"
            " processes hold a tape drive or changer",
        ),
        Row("mounts", "read", "/proc/1/mountinfo or /proc/self/mountinfo, and /proc/filesystems"),
        Row("proc.states", "read", "/proc/PID/stat: processes by state, and those in D state"),
        TreeRow(
            "sys.block",
            "tree",
            "/sys/block/*: size, flags, model, state, statistics",
            root="block",
            attributes=(
                *("*/size", "*/ro", "*/removable", "*/stat", "*/inflight", "*/queue/rotational"),
                *("*/device/model", "*/device/vendor", "*/device/state"),
                *("*/wwid", "*/device/wwid", "*/serial", "*/device/serial"),
                *("*/dm/name", "*/md/array_state"),
            ),
        ),
        TreeRow(
            "sys.hwmon",
            "tree",
            "/sys/class/hwmon/*: which chips with sensors there are",
            root="class/hwmon",
            attributes=("*/", "*/name"),
        ),
        TreeRow(
            "sys.hwmon.chip",
            "tree",
            "/sys/class/hwmon/hwmonN: temperatures, fans, powers and their labels",
            object="hwmon",
            root="class/hwmon",
            attributes=(
                *("name", "temp*_input", "temp*_label", "fan*_input", "fan*_label"),
                *("power*_input", "power*_average", "power*_label"),
            ),
        ),
        TreeRow(
            "sys.thermal",
            "tree",
            "/sys/class/thermal/*: which zones there are",
            root="class/thermal",
            attributes=("thermal_zone*/",),
        ),
        TreeRow(
            "sys.thermal.zone",
            "tree",
            "/sys/class/thermal/thermal_zoneN: its temperature and type",
            object="zone",
            root="class/thermal",
            attributes=("type", "temp"),
        ),
        TreeRow(
            "sys.scsi",
            "tree",
            "/sys/class/scsi_device, scsi_host and scsi_tape: devices, nodes, states, statistics",
            root="class",
            attributes=(
                *_SCSI_DEVICE,
                *_TAPE_STATISTICS,
                *("scsi_host/*/proc_name", "scsi_host/*/can_queue", "scsi_host/*/host_busy"),
                *("scsi_host/*/state", "scsi_tape/st*/device@"),
            ),
        ),
        *FC_ROWS,
        Row("scst.log", "read", "/dev/kmsg: how often SCST told of errors, by kind; no text of it"),
        *SCST_ROWS,
        *VTL_ROWS,
        *BOOT_ROWS,
        *TOOL_ROWS,
        *WATCH_ROWS,
    )
}


def digest() -> str:
    """Return a digest of protocol and table, by which a daemon knows whether the reader is its
    age."""
    text = json.dumps([PROTOCOL, *(asdict(row) for row in ROWS.values())], sort_keys=True)
    return digest_of(text.encode())
