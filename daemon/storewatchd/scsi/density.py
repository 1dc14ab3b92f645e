"""Decodes REPORT DENSITY SUPPORT (44h), and knows the generations of LTO and their speeds.

SSC-4 7.8. The density codes of LTO are in T10's list of density codes.
"""

from dataclasses import dataclass

from storewatchd.errors import Malformed
from storewatchd.scsi.fields import check_rest, span, text, uint

WHAT = "density support"
DESCRIPTOR_BYTES = 52
MB = 10**6

GENERATIONS: dict[int, str] = {
    0x40: "LTO-1",
    0x42: "LTO-2",
    0x44: "LTO-3",
    0x46: "LTO-4",
    0x58: "LTO-5",
    0x5A: "LTO-6",
    0x5C: "LTO-7",
    0x5D: "LTO-M8",  # an LTO-7 cartridge that an LTO-8 drive has formatted to 9 TB
    0x5E: "LTO-8",
    0x60: "LTO-9",
    0x62: "LTO-10",
}
"""Generations by primary density code."""


@dataclass(frozen=True, slots=True)
class Speed:
    """How slow and how fast a full height drive writes its own generation, uncompressed.

    Below `lowest_bytes_per_s` the tape has to stop and wind back ("shoe-shining").
    """

    lowest_bytes_per_s: int
    native_bytes_per_s: int


# IBM, "TS4300 tape library: speed matching" (LTO-7 to LTO-9: the lowest of twelve speeds) and IBM's
# and HPE's data sheets (native). LTO-5 and LTO-6 are IBM's drives; HPE's LTO-5 begins at 47 MB/s,
# so those two lowest speeds are our judgement. Half height drives of LTO-8 and LTO-9 end at 300.
SPEEDS: dict[str, Speed] = {
    "LTO-5": Speed(40 * MB, 140 * MB),
    "LTO-6": Speed(40 * MB, 160 * MB),
    "LTO-7": Speed(101 * MB, 300 * MB),
    "LTO-8": Speed(112 * MB, 360 * MB),
    "LTO-9": Speed(177 * MB, 400 * MB),
}


@dataclass(frozen=True, slots=True)
class Density:
    """One density that a drive, or the cartridge in it, supports.

    `capacity_bytes` is nominal (the report counts in 10^6); None where the report says 0.
    """

    primary_code: int
    secondary_code: int
    is_writable: bool
    is_default: bool
    bits_per_mm: int
    width_m: float
    tracks: int
    capacity_bytes: int | None
    organization: str
    name: str
    description: str

    @property
    def generation(self) -> str:
        """The generation of LTO, or "" for another kind of tape."""
        return GENERATIONS.get(self.primary_code, "")


def parse_densities(raw: bytes) -> tuple[Density, ...]:
    """Decode a report of densities (MEDIA TYPE not set), in the order of the report.

    Raises:
        Malformed: the report is cut, or has descriptors of no known length.
    """
    end = 2 + uint(raw, 0, 2, WHAT)
    if end < 4:
        raise Malformed(WHAT, 0, f"a length of at least 2, found {end - 2}")
    span(raw, 0, end, WHAT)
    check_rest(raw, end, WHAT)
    found = []
    at = 4
    while at < end:
        # DLV says that a descriptor tells its length; without it all have 52 bytes.
        has_length = uint(raw[:end], at + 2, 1, WHAT) & 0x01
        length = 5 + uint(raw[:end], at + 3, 2, WHAT) if has_length else DESCRIPTOR_BYTES
        if length < DESCRIPTOR_BYTES:
            expected = f"a descriptor of at least {DESCRIPTOR_BYTES} bytes, found {length}"
            raise Malformed(WHAT, at + 3, expected)
        found.append(_density(span(raw[:end], at, length, WHAT)))
        at += length
    return tuple(found)


def _density(raw: bytes) -> Density:
    return Density(
        primary_code=raw[0],
        secondary_code=raw[1],
        is_writable=bool(raw[2] & 0x80),
        is_default=bool(raw[2] & 0x20),
        bits_per_mm=uint(raw, 5, 3, WHAT),
        width_m=uint(raw, 8, 2, WHAT) / 10_000,  # tenths of a millimetre
        tracks=uint(raw, 10, 2, WHAT),
        capacity_bytes=uint(raw, 12, 4, WHAT) * MB or None,
        organization=text(raw[16:24]),
        name=text(raw[24:32]),
        description=text(raw[32:52]),
    )
