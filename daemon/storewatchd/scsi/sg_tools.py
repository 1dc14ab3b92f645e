"""Understands how a tool of sg3_utils ended: exit status and standard error together.

Neither suffices. sg_inq, sg_turs and sg_requests exit 0 when the transport timed out, and sg_turs
exits 2 ("not ready") when the device is gone; only standard error tells. What is quoted here was
printed by sg3_utils 1.46 and 1.48; the numbers are those of the page sg3_utils(8).
"""

import errno
import os
import re
from dataclasses import dataclass
from enum import StrEnum

from storewatchd.errors import Malformed
from storewatchd.scsi.sense import Sense, SenseKey
from storewatchd.scsi.sense_codes import CODES

WHAT = "sense text"


class Ending(StrEnum):
    """How a command ended. Only `ok` says that what was received may be believed."""

    OK = "ok"
    NOT_READY = "not ready"
    MEDIUM_OR_HARDWARE = "medium or hardware error"
    ILLEGAL_REQUEST = "illegal request"
    UNIT_ATTENTION = "unit attention"
    DATA_PROTECT = "data protect"
    UNSUPPORTED = "unsupported"
    ABORTED = "aborted"
    OTHER_SENSE = "other sense"
    RESERVATION_CONFLICT = "reservation conflict"
    BUSY = "busy"
    TIMED_OUT = "timed out"
    TRANSPORT = "transport failed"
    GONE = "gone"
    FORBIDDEN = "forbidden"
    HELD = "held"
    OS_ERROR = "os error"
    MALFORMED = "malformed answer"
    USAGE = "wrong usage"
    KILLED = "killed"
    STUCK = "stuck"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run of a tool ended, and why we think so.

    `senses` is what the device said, in order: a unit attention among them was ours to receive and
    comes to nobody else. `received_bytes` is what sg_raw says that it received, else None.
    """

    ending: Ending
    sentence: str
    senses: tuple[Sense, ...] = ()
    errno: int | None = None
    received_bytes: int | None = None

    @property
    def is_ok(self) -> bool:
        return self.ending is Ending.OK


STATUSES: dict[int, tuple[Ending, str]] = {
    0: (Ending.OK, "the command succeeded"),
    1: (Ending.USAGE, "the tool does not understand how it was called"),
    # The device says so, or the kernel has set it offline: without -v most tools do not tell.
    2: (Ending.NOT_READY, "the device is not ready, or offline"),
    3: (Ending.MEDIUM_OR_HARDWARE, "the device reports a medium or hardware error"),
    5: (Ending.ILLEGAL_REQUEST, "the device refuses the request"),
    6: (Ending.UNIT_ATTENTION, "the device has something to tell first"),
    7: (Ending.DATA_PROTECT, "the medium is protected"),
    9: (Ending.UNSUPPORTED, "the device does not know this command"),
    10: (Ending.ABORTED, "the device aborted a copy"),
    11: (Ending.ABORTED, "the device aborted the command"),
    12: (Ending.NOT_READY, "this path to the device is in standby"),
    13: (Ending.NOT_READY, "this path to the device is unavailable"),
    14: (Ending.OTHER_SENSE, "what the device compared is not equal"),
    15: (Ending.UNKNOWN, "the tool has trouble with a file"),
    17: (Ending.ILLEGAL_REQUEST, "the device refuses the request"),
    18: (Ending.MEDIUM_OR_HARDWARE, "the device reports a medium or hardware error"),
    20: (Ending.OTHER_SENSE, "the device reports something that is no error"),
    21: (Ending.OTHER_SENSE, "the device recovered from an error"),
    22: (Ending.ILLEGAL_REQUEST, "the device has no such block"),
    24: (Ending.RESERVATION_CONFLICT, "another host has reserved the device"),
    25: (Ending.OTHER_SENSE, "the device reports that a condition is met"),
    26: (Ending.BUSY, "the device is busy"),
    27: (Ending.BUSY, "the device takes no more commands for now"),
    28: (Ending.BUSY, "the device waits for an earlier error to be cleared"),
    29: (Ending.ABORTED, "the command was aborted by somebody else"),
    31: (Ending.USAGE, "the tool was given options that contradict each other"),
    32: (Ending.UNKNOWN, "the tool is in a state that it does not expect"),
    33: (Ending.TIMED_OUT, "the command timed out"),
    35: (Ending.TRANSPORT, "the driver or the connection failed"),
    36: (Ending.OTHER_SENSE, "the command succeeded, and says no"),
    40: (Ending.ABORTED, "protection information is wrong"),
    41: (Ending.ABORTED, "protection information is wrong"),
    49: (Ending.MALFORMED, "the device cannot have sent what the driver says it sent"),
    97: (Ending.MALFORMED, "the answer of the device makes no sense"),
    98: (Ending.OTHER_SENSE, "the device reports something else"),
    99: (Ending.UNKNOWN, "the tool failed and does not say why"),
}
"""What an exit status claims; 50 + errno and signals apart."""

_GONE = frozenset({errno.ENOENT, errno.ENXIO, errno.ENODEV})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM})
_OS_WORDS = {os.strerror(number): number for number in errno.errorcode}
# strerror's words at the end of a line; "open error: /dev/sg0 No such file or directory" has none
# of its own before them but the path.
_OS_ERROR = re.compile(
    r"(?m)(?:error opening file: \S+|open error: \S+|pass-through os error:|do_scsi_pt:|^\S+)"
    rf"[: ]+(?P<words>{'|'.join(sorted(map(re.escape, _OS_WORDS), key=len, reverse=True))}) *$"
)
_HOST_STATUS = re.compile(r"Host_status=0x(?P<code>[0-9a-f]+)(?: \[(?P<name>\w+)\])?")
_DRIVER_TIMEOUT = re.compile(r"Driver_status=0x[0-9a-f]*6\b")
_RECEIVED = re.compile(r"(?m)^(?:Writing|Received) (?P<count>\d+) bytes of data")
_SCSI_STATUS = re.compile(r"(?m)^SCSI Status: (?P<name>\S.*?) *$")
_KEY = re.compile(
    r"(?m)^(?:.*[: ])?(?:Fixed|Descriptor) format, (?P<when>current|<<<deferred>>>); "
    r"Sense key: (?P<key>\S.*?) *$"
)
_WORDS = re.compile(r"Additional sense: (?P<words>\S.*?) *")
_NUMBERS = re.compile(
    r"(?:vendor specific )?ASC=(?P<asc>[0-9a-f]{2}),"
    r"(?: vendor specific qualification)? ASCQ=(?P<ascq>[0-9a-f]{2}) \(hex\) *"
)
_INFORMATION = re.compile(r" +Info fld=0x(?P<value>[0-9a-f]{1,16}) \[-?\d+\](?P<marks>[ A-Z]*)")
_PROGRESS = re.compile(r".*Progress indication: (?P<percent>\d{1,3}\.\d\d)% *")
_MARKS = re.compile(r" +(?P<marks>(?:(?:FMK|EOM|ILI) *)+)")
_KEYS = {key.words: key for key in SenseKey}
# What a run that went well may print on standard error.
_HARMLESS = re.compile(
    r"SCSI Status: Good *|(?:Writing|Received) \d+ bytes of data.*"
    r"| [0-9a-f]{2,} {3,}[0-9a-f]{2} .*|.* cdb: \[[0-9a-f ]+\]|data-in decoded as sense:|"
    r" +Sense Key Specific: .*"
)


def judge(status: int | None, stderr: str) -> Outcome:
    """Say how a run of a tool of sg3_utils ended.

    `status` is the exit status, negative where a signal killed the tool, None where it has not
    ended. A status is believed only where standard error does not contradict it.
    """
    senses, unread = _read_senses(stderr)
    if status is None:
        return Outcome(Ending.STUCK, "the tool has not ended", senses)
    if host := _failed_transport(stderr):
        return Outcome(*host, senses)
    if status < 0:
        return Outcome(Ending.KILLED, f"the tool was killed by signal {-status}", senses)
    number = _os_error(status, stderr)
    if number is not None:
        return Outcome(*_os_ending(number), senses, errno=number)
    if scsi := _scsi_status(stderr):
        return Outcome(*STATUSES[scsi], senses)
    if status == 0 and unread:
        return Outcome(Ending.UNKNOWN, f"the tool exited with 0, but says: {unread}", senses)
    ending, sentence = STATUSES.get(
        status, (Ending.UNKNOWN, f"the tool exited with {status}, which means nothing to us")
    )
    if status != 0 and senses:
        sentence = senses[-1].sentence
    elif status != 0 and ending is Ending.UNKNOWN and unread:
        sentence = f"the tool failed, and says: {unread}"
    received = _RECEIVED.search(stderr)
    count = int(received["count"]) if received and status == 0 else None
    return Outcome(ending, sentence, senses, received_bytes=count)


def parse_sense_text(stderr: str) -> tuple[Sense, ...]:
    """Return every piece of sense data that a tool printed, in order.

    sg3_utils prints T10's words and no numbers where it knows the code. Words that we do not know
    leave `asc` None and are kept as `printed`.

    Raises:
        Malformed: there is a sense key that does not exist.
    """
    found = []
    for match in _KEY.finditer(stderr):
        name = re.sub(r"\(.*\)$", "", match["key"]).strip().casefold()
        if name not in _KEYS:
            raise Malformed(WHAT, match.start("key"), f"the name of a sense key, found {name!r}")
        lines = stderr[match.end() :].split("\n")[1:6]
        found.append(_sense(_KEYS[name], match["when"] != "current", lines))
    return tuple(found)


def _sense(key: SenseKey, is_deferred: bool, lines: list[str]) -> Sense:
    asc = ascq = information = progress = None
    printed = marks = ""
    if lines and (numbers := _NUMBERS.fullmatch(lines[0])):
        asc, ascq = int(numbers["asc"], 16), int(numbers["ascq"], 16)
    elif lines and (named := _WORDS.fullmatch(lines[0])):
        printed = named["words"]
        asc, ascq = CODES.get(printed.casefold(), (None, None))
    for line in lines[bool(printed) or asc is not None :]:
        if match := _INFORMATION.fullmatch(line):
            information, marks = int(match["value"], 16), match["marks"]
        elif match := _PROGRESS.fullmatch(line):
            progress = min(float(match["percent"]) / 100, 1.0)
        elif match := _MARKS.fullmatch(line):
            marks = match["marks"]
        else:
            break
    return Sense(
        key,
        asc=asc,
        ascq=ascq,
        is_deferred=is_deferred,
        has_filemark="FMK" in marks,
        is_end_of_medium="EOM" in marks,
        is_incorrect_length="ILI" in marks,
        information=information,
        progress=progress,
        printed="" if asc is not None else printed,
    )


def _read_senses(stderr: str) -> tuple[tuple[Sense, ...], str]:
    """Return the sense data, and the first line that a good run would not have printed."""
    try:
        senses = parse_sense_text(stderr)
    except Malformed as error:
        return (), str(error)
    patterns = (_KEY, _WORDS, _NUMBERS, _INFORMATION, _PROGRESS, _MARKS, _HARMLESS)
    for line in stderr.split("\n"):
        if line.strip() and not any(pattern.fullmatch(line) for pattern in patterns):
            return senses, line.strip()
    return senses, ""


def _failed_transport(stderr: str) -> tuple[Ending, str] | None:
    for match in _HOST_STATUS.finditer(stderr):
        if int(match["code"], 16):
            name = match["name"] or f"host status 0x{match['code']}"
            # DID_TIME_OUT is 3 (include/scsi/scsi_status.h).
            ending = Ending.TIMED_OUT if int(match["code"], 16) == 3 else Ending.TRANSPORT
            return ending, f"the command did not reach the device or got no answer ({name})"
    if _DRIVER_TIMEOUT.search(stderr):
        return Ending.TIMED_OUT, "the command got no answer (driver timeout)"
    if re.search(r"resid \(-?\d+\) should never exceed", stderr):
        return Ending.TRANSPORT, "the driver says that more was missing than was asked for"
    return None


def _os_error(status: int, stderr: str) -> int | None:
    if match := _OS_ERROR.search(stderr):
        return _OS_WORDS[match["words"]]
    # SG_LIB_OS_BASE_ERR: 50 + errno, up to errno 46.
    return status - 50 if 51 <= status <= 96 else None


def _os_ending(number: int) -> tuple[Ending, str]:
    if number == errno.EDOM:  # so ends sg_vpd where page 00h does not list the page
        return Ending.UNSUPPORTED, "the device does not have this page"
    words = os.strerror(number).lower()
    if number in _GONE:
        return Ending.GONE, words
    if number in _FORBIDDEN:
        return Ending.FORBIDDEN, words
    return Ending.HELD if number == errno.EBUSY else Ending.OS_ERROR, words


def _scsi_status(stderr: str) -> int | None:
    # sg_raw exits 99 where the status is BUSY.
    match = _SCSI_STATUS.search(stderr)
    names = {"Busy": 26, "Reservation Conflict": 24, "Task Set Full": 27, "ACA Active": 28}
    return names.get(match["name"]) if match else None
