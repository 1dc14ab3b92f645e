"""Which lines of the kernel's log leave the reader, told by lines of real kernels."""

import re
from pathlib import Path

import pytest

from storewatch_reader import scst_log
from storewatch_reader.kernel_log import PATTERNS, SECRET_WORDS

DATA = Path(__file__).parents[1] / "data" / "scst"


def pattern_of(line: str) -> str:
    return next((name for name, pattern in PATTERNS if re.search(pattern, line)), "")


# The first are of Linux 6.1 with SCST 3.11, as they were logged; [src] are as its source has them.
LINES = [
    ("scst_error", "[1209]: dev_vdisk: ***ERROR***: BLOCKIO for cmd 00ab finished with error -5"),
    ("scst_error", "[2510]: dev_vdisk: ***ERROR***: filp_open(/var/lab/gone.img) failed: -2"),
    ("scst_error", "[7]: dev_vdisk: blockio_endio:4711:***ERROR***: BLOCKIO for cmd 1 finished"),
    ("scst_error", "[7]: ib_srpt: ***ERROR***: registering failed"),
    ("scst", "[411]: dev_tape: ***WARNING***: Unit not ready: 2"),
    ("scst", "[1630]: scst: TM fn NEXUS_LOSS_SESS/6 (mcmd 0d56, initiator iqn.a:two, target t)"),
    ("scst", "[405]: iscsi-scst: iSCSI TM fn 1"),
    ("scst", "scst: Attached to scsi7, channel 0, id 0, lun 0, type 1"),
    (
        "scst_event_lost",  # [src]
        "[9]: scst: ***ERROR***: Too many queued events 2048, event 4, issuer SCST core is lost.",
    ),
    ("io_error", "Buffer I/O error on dev dm-0, logical block 32752, async page read"),
    (
        "io_error",
        "I/O error, dev sdo, sector 0 op 0x1:(WRITE) flags 0x8800 phys_seg 1 prio class 2",
    ),
    ("io_error", "critical nexus error, dev sdh, sector 0 op 0x0:(READ) flags 0x0 phys_seg 1"),
    ("io_error", "critical medium error, dev sdo, sector 2 op 0x0:(READ) flags 0x0 phys_seg 1"),
    ("hung_task", "INFO: task iscsid:612 blocked for more than 30 seconds."),
    ("device_attached", "sd 2:0:0:0: [sda] Attached SCSI disk"),
    ("device_attached", "st 9:0:1:0: Attached scsi tape st0"),
    ("device_attached", "ch 9:0:0:0: Attached scsi generic sg3 type 8"),
    ("device_detached", "sd 2:0:0:0: [sda] Synchronizing SCSI cache"),
    ("tape_error", "st 9:0:1:0: [st0] Error 10000 (driver bt 0, host bt 0x1)."),
    ("tape_error", "st 9:0:1:0: Power-on or device reset occurred"),
    (
        "scsi_error",
        "sd 4:0:0:0: [sdo] tag#1 FAILED Result: hostbyte=DID_OK driverbyte=DRIVER_OK cmd_age=0s",
    ),
    ("scsi_error", "sd 4:0:0:0: [sdo] tag#1 Sense Key : Medium Error [current] "),
    ("scsi_error", "sd 4:0:0:0: reservation conflict"),
    ("link", " connection1:0: detected conn error (1020)"),
    ("link", "qla2xxx [0000:05:00.0]-500b:7: LOOP DOWN detected (2 7 0 0)."),
    ("link", " rport-7:0-2: blocked FC remote port time out: removing target"),
    ("filesystem_error", "EXT4-fs error (device sda1): ext4_find_entry:1463: inode #2: comm ls"),
    ("filesystem_error", "EXT4-fs (sda1): Remounting filesystem read-only"),
    ("filesystem_error", "XFS (sdb1): metadata I/O error in xfs_trans_read_buf at daddr 0x1"),
    ("array_error", "md/raid1:md0: Disk failure on sdb1, disabling device."),
    ("host_error", "ata3.00: exception Emask 0x0 SAct 0x40 SErr 0x0 action 0x6 frozen"),
    ("host_error", "nvme nvme0: controller is down; will reset: CSTS=0xffffffff"),
]


@pytest.mark.parametrize("recorded", ["kmsg-recorded.txt", "kmsg-written.txt"])
def test_what_is_counted_of_scst_is_known_at_once(recorded: str) -> None:
    for line in (DATA / recorded).read_text().splitlines():
        _, _, text = line.partition(";")
        if scst_log._kind(text.encode()):
            assert pattern_of(text) in ("scst_error", "scst_event_lost")


@pytest.mark.parametrize(("name", "line"), LINES, ids=[f"{a}: {b[:30]}" for a, b in LINES])
def test_a_line_about_storage_is_known(name: str, line: str) -> None:
    assert pattern_of(line) == name
    assert not re.search(SECRET_WORDS, line)


@pytest.mark.parametrize(
    "line",
    [
        "Command line: root=/dev/sda1 password=geheim",
        "LAB-MARK: snapshot 16-backend-hung-5s",
        "fuse: init (API version 7.38)",
        "scsi host5: iSCSI Initiator over TCP/IP",
        "ata1: SATA link down (SStatus 0 SControl 300)",
        'audit: type=1400 operation="open" name="/etc/shadow"',
        "",
    ],
)
def test_another_line_stays_where_it_is(line: str) -> None:
    assert pattern_of(line) == ""


@pytest.mark.parametrize(
    "line",
    [
        "[9]: iscsi-scst: key CHAP_R=0x1234",
        "[9]: scst: IncomingUser joe geheim",
        "[9]: scst: ***ERROR***: wrong Password of joe",
    ],
)
def test_a_line_by_which_a_secret_may_go_is_held_back(line: str) -> None:
    assert pattern_of(line)
    assert re.search(SECRET_WORDS, line)
