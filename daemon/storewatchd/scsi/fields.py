"""Reads fields out of the bytes of an answer; what does not fit is Malformed, never zero."""

from storewatchd.errors import Malformed


def uint(raw: bytes, at: int, width: int, what: str, base: int = 0) -> int:
    """Return the big-endian number of `width` bytes at an offset."""
    return int.from_bytes(span(raw, at, width, what, base), "big")


def span(raw: bytes, at: int, width: int, what: str, base: int = 0) -> bytes:
    """Return `width` bytes at an offset, all of them; `base` is where `raw` begins in `what`."""
    if len(raw) < at + width:
        end = base + len(raw)
        raise Malformed(what, end, f"{base + at + width} bytes, found {end}")
    return raw[at : at + width]


def check_rest(raw: bytes, end: int, what: str) -> None:
    """Refuse bytes after the end that an answer gives itself; padding with zeros is none."""
    rest = raw[end:]
    if rest.strip(b"\0"):
        at = end + len(rest) - len(rest.lstrip(b"\0"))
        raise Malformed(what, at, f"nothing after byte {end}")


def text(raw: bytes) -> str:
    """Return what an ASCII field says, or "" where it is blank.

    Fields are padded with blanks or cut with a zero byte (SPC-4 4.3.1). Bytes that are no
    printable ASCII are kept as \\xNN, so that two different labels never look the same.
    """
    filled = raw.split(b"\0", 1)[0].strip(b" ")
    if filled.isalnum():  # of bytes: ASCII letters and digits only
        return filled.decode("ascii")
    return "".join(
        chr(byte) if 0x20 <= byte <= 0x7E and byte != 0x5C else f"\\x{byte:02x}" for byte in filled
    )
