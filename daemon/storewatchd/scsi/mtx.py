"""Reads what `mtx status` prints: a second opinion on a library, and the fallback.

The grammar is that of mtx 1.3.12 (unchanged since 1.2). mtx hides element exceptions, serial
numbers of drives and access bits; it invents a source slot where the library knows none; after a
short transfer or a unit attention it shows emptied slots or slots without bar codes, and exits
with 0. So `suspect` says what speaks against a listing; a listing without such reasons may still
be wrong, and one in which nearly everything vanished at once is to be read again.
"""

import errno
import os
import re
from dataclasses import dataclass

from storewatchd.errors import Malformed
from storewatchd.scsi.elements import ElementType
from storewatchd.scsi.fields import text
from storewatchd.scsi.sense import Sense, SenseKey
from storewatchd.scsi.sg_tools import Ending, Outcome

WHAT = "mtx status"

_HEADER = re.compile(
    rb"  Storage Changer (?P<device>.+):(?P<drives>\d+) Drives, (?P<slots>\d+) Slots "
    rb"\( (?P<mails>\d+) Import/Export \)"
)
_DRIVE = re.compile(
    rb"Data Transfer Element (?P<number>\d{1,6}):(?:Empty|Full "
    rb"\((?:Storage Element (?P<source>-?\d{1,6}) Loaded|Unknown Storage Element Loaded)\)"
    rb"(?::VolumeTag = (?P<tag>[\x20-\x7f]{0,36}?))?"
    rb"(?::AlternateVolumeTag = (?P<alternate>[\x20-\x7f]{0,36}))?)"
)
_SLOT = re.compile(
    rb" {6}Storage Element (?P<number>\d{1,6})(?P<mail> IMPORT/EXPORT)?:(?:Empty|(?P<full>Full ))"
    rb"(?::VolumeTag=(?P<tag>[\x20-\x7f]{0,36}?))?"
    rb"(?::AlternateVolumeTag=(?P<alternate>[\x20-\x7f]{0,36}))?"
)


@dataclass(frozen=True, slots=True)
class MtxElement:
    """One place as mtx shows it. Drives count from 0; slots from 1, mail slots after the others.

    `source` is the number of a slot, and may be mtx's invention; None where mtx says "Unknown" or
    the element is no drive. `tag` is "" where there is none or mtx shows none.
    """

    type: ElementType
    number: int
    is_full: bool
    tag: str
    alternate_tag: str
    source: int | None = None


@dataclass(frozen=True, slots=True)
class MtxStatus:
    """A listing, in its order, and why it is not to be believed, if so."""

    device: str
    elements: tuple[MtxElement, ...]
    suspect: tuple[str, ...]

    def of_type(self, kind: ElementType) -> tuple[MtxElement, ...]:
        return tuple(element for element in self.elements if element.type is kind)


def parse_mtx_status(stdout: bytes, *, stderr: str = "", status: int | None = 0) -> MtxStatus:
    """Read a listing.

    Raises:
        Malformed: the output has no header, was cut, or has a line that mtx does not print.
    """
    lines = stdout.split(b"\n")
    if lines.pop():
        raise Malformed(WHAT, len(stdout), "the end of a line")
    header = _HEADER.fullmatch(lines[0]) if lines else None
    if header is None:
        raise Malformed(WHAT, 0, "the line that names the changer")
    elements = []
    at = len(lines[0]) + 1
    for line in lines[1:]:
        elements.append(_element(line, at))
        at += len(line) + 1
    suspect = [*_suspect_run(status, stderr), *_suspect_listing(header, elements)]
    return MtxStatus(text(header["device"]), tuple(elements), tuple(suspect))


def _element(line: bytes, at: int) -> MtxElement:
    if match := _DRIVE.fullmatch(line):
        source = int(match["source"] or -1)
        return MtxElement(
            type=ElementType.DRIVE,
            number=int(match["number"]),
            is_full=not line.endswith(b":Empty"),
            tag=text(match["tag"] or b""),
            alternate_tag=text(match["alternate"] or b""),
            source=source if source >= 0 else None,
        )
    if match := _SLOT.fullmatch(line):
        return MtxElement(
            type=ElementType.IMPORT_EXPORT if match["mail"] else ElementType.STORAGE,
            number=int(match["number"]),
            is_full=match["full"] is not None,
            tag=text(match["tag"] or b""),
            alternate_tag=text(match["alternate"] or b""),
        )
    raise Malformed(WHAT, at, f"a drive or a slot, found {text(line)[:60]!r}")


def _suspect_run(status: int | None, stderr: str) -> list[str]:
    reasons = []
    if status != 0:
        reasons.append("it has not ended" if status is None else f"it exited with {status}")
    if stderr.strip():
        reasons.append(f"it printed an error: {stderr.strip().splitlines()[-1]}")
    return reasons


def _suspect_listing(header: re.Match[bytes], elements: list[MtxElement]) -> list[str]:
    drives = [one.number for one in elements if one.type is ElementType.DRIVE]
    slots = [one.number for one in elements if one.type is not ElementType.DRIVE]
    mails = [one.number for one in elements if one.type is ElementType.IMPORT_EXPORT]
    reasons = []
    for name, numbers in (("drives", drives), ("slots", slots), ("mails", mails)):
        announced, noun = int(header[name]), {"mails": "mail slots"}.get(name, name)
        if announced != len(numbers):
            reasons.append(f"it announces {announced} {noun} and lists {len(numbers)}")
    if drives != list(range(len(drives))) or slots != list(range(1, len(slots) + 1)):
        reasons.append("its numbers are not in order")
    if mails != slots[len(slots) - len(mails) :]:
        reasons.append("its mail slots are not the last")
    return reasons


# How a run ended. What is quoted was printed by mtx 1.3.12.
_OPEN = re.compile(r"(?m)^cannot open SCSI device '.*' - (?P<words>.+?) *$")
_SENSE = re.compile(r"(?m)^mtx: Request Sense: (?P<name>[^=\n]+?) ?= ?(?P<value>.*?) *$")
_OPEN_ENDINGS = {
    os.strerror(errno.ENOENT): (Ending.GONE, errno.ENOENT),
    os.strerror(errno.ENXIO): (Ending.GONE, errno.ENXIO),
    os.strerror(errno.ENODEV): (Ending.GONE, errno.ENODEV),
    os.strerror(errno.EACCES): (Ending.FORBIDDEN, errno.EACCES),
    os.strerror(errno.EPERM): (Ending.FORBIDDEN, errno.EPERM),
    os.strerror(errno.EBUSY): (Ending.HELD, errno.EBUSY),
}
_KEY_ENDINGS = {
    SenseKey.NOT_READY: Ending.NOT_READY,
    SenseKey.MEDIUM_ERROR: Ending.MEDIUM_OR_HARDWARE,
    SenseKey.HARDWARE_ERROR: Ending.MEDIUM_OR_HARDWARE,
    SenseKey.ILLEGAL_REQUEST: Ending.ILLEGAL_REQUEST,
    SenseKey.UNIT_ATTENTION: Ending.UNIT_ATTENTION,
    SenseKey.ABORTED_COMMAND: Ending.ABORTED,
}
_KEYS = {key.words: key for key in SenseKey}


def parse_mtx_senses(stderr: str) -> tuple[Sense, ...]:
    """Return every piece of sense data that mtx printed, in order.

    A block that is all zero is none: mtx prints it for a reservation conflict, for a busy device
    and for one that is gone.
    """
    senses = []
    fields: dict[str, str] = {}
    for match in _SENSE.finditer(stderr):
        if match["name"] == "Long Report":  # the first line of a block
            fields = {}
        fields[match["name"]] = match["value"]
        if match["name"] == "Additional Sense Qualifier" and (sense := _sense(fields)):
            senses.append(sense)
    return tuple(senses)


def _sense(fields: dict[str, str]) -> Sense | None:
    key = _KEYS.get(fields.get("Sense Key", "").casefold())
    error = fields.get("Error Code", "0 ").split(" ")[0]
    codes = [fields.get(f"Additional Sense {name}", "") for name in ("Code", "Qualifier")]
    if key is None or error not in ("70", "71"):
        return None
    if not all(re.fullmatch("[0-9A-F]{2}", code) for code in codes):
        return None
    asc, ascq = (int(code, 16) for code in codes)
    return Sense(key, asc, ascq, is_deferred=error == "71")


def judge_mtx(status: int | None, stderr: str) -> Outcome:
    """Say how a run of mtx ended; it is ok only with status 0 and nothing on standard error."""
    senses = parse_mtx_senses(stderr)
    if status is None:
        return Outcome(Ending.STUCK, "mtx has not ended", senses)
    if status < 0:
        return Outcome(Ending.KILLED, f"mtx was killed by signal {-status}", senses)
    if opened := _OPEN.search(stderr):
        ending, number = _OPEN_ENDINGS.get(opened["words"], (Ending.OS_ERROR, None))
        return Outcome(ending, opened["words"].lower(), senses, errno=number)
    if senses:
        ending = _KEY_ENDINGS.get(senses[-1].key, Ending.OTHER_SENSE)
        return Outcome(ending, senses[-1].sentence, senses)
    last = stderr.strip().splitlines()[-1:]
    if _SENSE.search(stderr):
        sentence = "the device is reserved, busy or gone, and mtx does not tell which"
        return Outcome(Ending.UNKNOWN, sentence)
    if last:
        return Outcome(Ending.UNKNOWN, f"mtx says: {last[0].strip()}")
    if status:
        return Outcome(Ending.UNKNOWN, f"mtx exited with {status} and does not say why")
    return Outcome(Ending.OK, "the command succeeded")
