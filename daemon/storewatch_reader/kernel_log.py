"""Which lines of the kernel's log are passed on: those that speak of storage, by pattern.

The first pattern that matches names the line. All else stays in the worker, and so does every line
with a word in it by which secrets go; those are counted only.
"""

_OF_SCST = r"^(\[[0-9]+\]: )?(scst|iscsi-scst|isert|dev_|qla2x00t)[^ :]*: "
# A build for debugging says its function and line before the stars. The number of a process before
# its name is told by SCST's modules only, and by all of them.
_OF_ANY_SCST_MODULE = r"^\[[0-9]+\]: [\w-]+: "
_SCST_ERROR = r"(\w+:[0-9]+: ?)?\*\*\*(CRITICAL )?ERROR"
_OF_DEVICE = r"^(sd|sr|st|ch|ses|sg|scsi) [0-9]+:[0-9]+:[0-9]+:[0-9]+: (\[[a-z0-9]+\] )?"
_OF_HOST = r"^(scsi host[0-9]+|ata[0-9.]+|nvme nvme[0-9]+|mpt[23]sas|megaraid_sas|aacraid)\b.*"


def _any(*patterns: str) -> str:
    return "|".join(patterns)


PATTERNS = (
    # Of a reader of /dev/scst_event that is too slow (SCST, scst_event.c).
    ("scst_event_lost", r"Too many queued events [0-9]+, event [0-9]+, issuer .* is lost"),
    ("scst_error", _any(_OF_SCST + _SCST_ERROR, _OF_ANY_SCST_MODULE + _SCST_ERROR)),
    ("scst", _OF_SCST),
    ("hung_task", r"^INFO: task .* blocked for more than [0-9]+ seconds"),
    (
        "io_error",
        _any(
            r"^(Buffer )?I/O error",
            r"^blk_update_request: .*error",
            r"^(critical|recoverable|timeout)?.*(target|nexus|medium|timeout|space) error, dev ",
        ),
    ),
    ("device_attached", _OF_DEVICE + r"Attached (SCSI|scsi) "),
    (
        "device_detached",
        _OF_DEVICE + r"(Synchronizing SCSI cache|Stopping disk|Device offlined|rejecting I/O)",
    ),
    (
        "tape_error",
        r"^(st|ch) [0-9]+:[0-9]+:[0-9]+:[0-9]+: .*(Error|Failed|Sense Key|device reset)",
    ),
    (
        "scsi_error",
        _OF_DEVICE
        + r".*(FAILED Result|Sense Key|Add\. Sense|timing out|reservation conflict|device reset)",
    ),
    (
        "host_error",
        _OF_HOST + r"([Rr]eset|exception|failed|timeout|timed out|controller is down)",
    ),
    (
        "link",
        _any(
            r"^ *(connection|session)[0-9:]+ (detected conn error|session recovery timed out)",
            r"rport-[0-9:-]+: blocked FC remote port time out",
            r"^(qla2xxx|lpfc|bnx2fc|fnic|bfa)\b.*(LIP|LOOP|[Ll]ink) .*([Uu]p|UP|[Dd]own|DOWN)",
        ),
    ),
    (
        "filesystem_error",
        _any(
            r"^(EXT[234]-fs|BTRFS)( error|.*: error)",
            r"^XFS .*: ([Mm]etadata|Corruption|xfs_do_force_shutdown)",
            r"[Rr]emounting filesystem read-only",
            r"^JBD2: .*[Ee]rror",
        ),
    ),
    ("array_error", r"^md(/raid|[0-9:]).*(failure|failed|Operation continuing|not clean)"),
)
"""Names and patterns (Python's `re`), in the order in which they are tried."""

SECRET_WORDS = r"(?i)chap|passw|secret|incominguser|outgoinguser|credential"
"""A line with one of these is never passed on."""

LINE_BYTES = 1024
"""How much of a line is passed on at most, with what the kernel says of its device."""

LINES_A_SECOND = 20
LINES_AT_ONCE = 200
"""How many lines are passed on at most, in the long run and in a burst; others are counted."""
