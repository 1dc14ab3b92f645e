"""Decodes sense data: what a device says when a command did not end well (SPC-4 4.5)."""

from dataclasses import dataclass
from enum import IntEnum

from storewatchd.errors import Malformed
from storewatchd.scsi.fields import span, uint
from storewatchd.scsi.sense_codes import MEANINGS, words

WHAT = "sense data"
DESCRIPTORS_AT = 8


class SenseKey(IntEnum):
    """SPC-4 table 47."""

    NO_SENSE = 0x0
    RECOVERED_ERROR = 0x1
    NOT_READY = 0x2
    MEDIUM_ERROR = 0x3
    HARDWARE_ERROR = 0x4
    ILLEGAL_REQUEST = 0x5
    UNIT_ATTENTION = 0x6
    DATA_PROTECT = 0x7
    BLANK_CHECK = 0x8
    VENDOR_SPECIFIC = 0x9
    COPY_ABORTED = 0xA
    ABORTED_COMMAND = 0xB
    RESERVED = 0xC
    VOLUME_OVERFLOW = 0xD
    MISCOMPARE = 0xE
    COMPLETED = 0xF

    @property
    def words(self) -> str:
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True, slots=True)
class Sense:
    """One piece of sense data.

    `asc` and `ascq` are None where the data end before them; `printed` is what a tool printed
    where its words are not in our table. `progress` is from 0 to 1, for what is getting ready.
    `information` is the INFORMATION field where it is valid: for a tape the residue.
    """

    key: SenseKey
    asc: int | None = None
    ascq: int | None = None
    is_deferred: bool = False
    has_filemark: bool = False
    is_end_of_medium: bool = False
    is_incorrect_length: bool = False
    information: int | None = None
    progress: float | None = None
    printed: str = ""

    @property
    def is_unit_attention(self) -> bool:
        return self.key is SenseKey.UNIT_ATTENTION

    @property
    def code(self) -> str:
        """The additional sense code as the field writes it: 28/01; empty where it is absent."""
        return "" if self.asc is None or self.ascq is None else f"{self.asc:02X}/{self.ascq:02X}"

    @property
    def sentence(self) -> str:
        """Say key, meaning and code: "unit attention: the mail slot was used (28/01)"."""
        if self.asc is None or self.ascq is None:
            return f"{self.key.words}: {self.printed}" if self.printed else self.key.words
        return f"{self.key.words}: {meaning(self.asc, self.ascq)} ({self.code})"


def meaning(asc: int, ascq: int) -> str:
    """Say what an additional sense code means, in our words or else in T10's."""
    return MEANINGS.get((asc, ascq)) or words(asc, ascq)


def parse_sense(raw: bytes) -> Sense:
    """Decode sense data of fixed (70h, 71h) or descriptor (72h, 73h) format.

    Raises:
        Malformed: the data are of neither format, or end before the sense key.
    """
    response = uint(raw, 0, 1, WHAT) & 0x7F
    if response in (0x70, 0x71):
        return _fixed(raw, is_deferred=response == 0x71)
    if response in (0x72, 0x73):
        return _described(raw, is_deferred=response == 0x73)
    raise Malformed(WHAT, 0, f"a response code from 70h to 73h, found {response:02X}h")


def _fixed(raw: bytes, *, is_deferred: bool) -> Sense:
    # SPC-4 4.5.3. Targets may cut the data anywhere after the key; ADDITIONAL SENSE LENGTH (byte
    # 7) says how much of it they mean.
    flags = uint(raw, 2, 1, WHAT)
    meant = raw[: 8 + raw[7]] if len(raw) > 7 else raw
    key = SenseKey(flags & 0x0F)
    has_code = len(meant) >= 14
    return Sense(
        key,
        asc=meant[12] if has_code else None,
        ascq=meant[13] if has_code else None,
        is_deferred=is_deferred,
        has_filemark=bool(flags & 0x80),
        is_end_of_medium=bool(flags & 0x40),
        is_incorrect_length=bool(flags & 0x20),
        information=uint(raw, 3, 4, WHAT) if raw[0] & 0x80 else None,
        progress=_progress(key, meant[15:18]),
    )


def _described(raw: bytes, *, is_deferred: bool) -> Sense:
    # SPC-4 4.5.2: header, then descriptors of type, additional length, content. A descriptor that
    # was cut off says nothing; the header still does.
    span(raw, 0, DESCRIPTORS_AT, WHAT)
    key = SenseKey(raw[1] & 0x0F)
    rest = raw[DESCRIPTORS_AT : DESCRIPTORS_AT + raw[7]]
    information = progress = None
    marks = 0
    while len(rest) >= 2 and len(rest) >= 2 + rest[1]:
        kind, content, rest = rest[0], rest[2 : 2 + rest[1]], rest[2 + rest[1] :]
        if kind == 0x00 and len(content) >= 10 and content[0] & 0x80:
            information = int.from_bytes(content[2:10], "big")
        elif kind == 0x02:
            progress = _progress(key, content[2:5])
        elif kind == 0x04 and len(content) >= 2:
            marks = content[1]
    return Sense(
        key,
        asc=raw[2],
        ascq=raw[3],
        is_deferred=is_deferred,
        has_filemark=bool(marks & 0x80),
        is_end_of_medium=bool(marks & 0x40),
        is_incorrect_length=bool(marks & 0x20),
        information=information,
        progress=progress,
    )


def _progress(key: SenseKey, specific: bytes) -> float | None:
    # SPC-4 4.5.2.4.4: only with these two keys does the field say how far something is.
    if key not in (SenseKey.NO_SENSE, SenseKey.NOT_READY) or len(specific) < 3:
        return None
    return int.from_bytes(specific[1:3], "big") / 65536 if specific[0] & 0x80 else None
