"""Persistent reservations of a device, as SCST's attribute `pr_state` tells them. Pure.

    version 1
    generation 2
    reservation 03 00
    registrant 1 0000000000000aaa 1 48 4500002c69716e2e...

The reservation's type and scope are hexadecimal; a registrant has its target's relative id, its
key, whether it holds the reservation, and the length of its TransportID (SPC-4, 7.6.4) with that.
"""

import re
from dataclasses import dataclass

# SPC-4, 6.15.3.3.
_TYPES = {
    1: "write exclusive",
    3: "exclusive access",
    5: "write exclusive, registrants only",
    6: "exclusive access, registrants only",
    7: "write exclusive, all registrants",
    8: "exclusive access, all registrants",
}

_HEAD = re.compile(
    r"version 1\ngeneration ([0-9]{1,10})\n(?:reservation ([0-9a-f]{2}) [0-9a-f]{2}\n)?"
)
_REGISTRANT = re.compile(
    r"registrant [0-9]{1,5} [0-9a-f]{16} ([01]) ([0-9]{1,4}) ((?:[0-9a-f]{2})*)"
)

MOST_BYTES = 4096
"""What an attribute gives at most: who has so many registrants has more."""

_FC, _ISCSI, _SAS = 0, 5, 6  # protocols, SPC-4 7.6.1


@dataclass(frozen=True, slots=True)
class Reservation:
    """What hosts have agreed on about a device. `holder` is an initiator's name, or empty."""

    generation: int = 0  # how often something changed, 32 bits
    type: str = ""  # "" where nobody holds one
    holder: str = ""
    registrants: int = 0


def parse_reservation(content: bytes | int | None) -> Reservation | None:
    """Return what `pr_state` says; None where it does not say it in full, or in other words."""
    if not isinstance(content, bytes) or not content.endswith(b"\n") or len(content) >= MOST_BYTES:
        return None
    text = content.decode(errors="backslashreplace")
    head = _HEAD.match(text)
    if head is None:
        return None
    holder, registrants = "", 0
    for line in text[head.end() :].split("\n")[:-1]:
        said = _REGISTRANT.fullmatch(line)
        if said is None or int(said[2]) * 2 != len(said[3]):
            return None
        registrants += 1
        if said[1] == "1":
            holder = _name(bytes.fromhex(said[3]))
    number = int(head[2], 16) if head[2] else 0
    kind = _TYPES.get(number, f"type {number}") if number else ""
    # All registrants hold it alike.
    holder = "" if number in (7, 8) or not number else holder
    return Reservation(int(head[1]), kind, holder, registrants)


def _name(transport_id: bytes) -> str:
    """Return whose TransportID it is; nothing where that is not known."""
    if len(transport_id) < 24:
        return ""
    protocol = transport_id[0] & 0x0F
    if protocol == _ISCSI:
        size = int.from_bytes(transport_id[2:4], "big")
        name = transport_id[4 : 4 + size].rstrip(b"\0").decode(errors="backslashreplace")
        # In the other format its session follows: `iqn.a,i,0x33000003d0200`.
        return name.split(",i,")[0]
    start = {_FC: 8, _SAS: 4}.get(protocol)
    return "" if start is None else transport_id[start : start + 8].hex(":")
