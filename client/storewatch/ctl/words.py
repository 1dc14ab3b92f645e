"""Times, sizes and texts as people read and write them."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import msgspec

UNKNOWN = "?"
"""What an unknown number is shown as."""

# Control characters and the marks that reorder text: what a terminal would act on.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")

_UNITS_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31_536_000}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdwy])")


def block(text: str) -> str:
    """Return text of several lines with nothing in it that a terminal would act on."""
    return _UNPRINTABLE.sub(_escaped, text.replace("\r\n", "\n")).replace("\t", "    ")


def line(text: str) -> str:
    """Return text as one line, with nothing in it that a terminal would act on."""
    return block(" ".join(text.split("\n"))).strip()


def _escaped(found: re.Match[str]) -> str:
    code = ord(found.group())
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def duration(seconds: float | None) -> str:
    """Return a duration in its two largest units."""
    if seconds is None:
        return UNKNOWN
    if seconds == 0:
        return "0 s"
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    left = round(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count} {unit}")
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if not part.startswith("0 "))


def size(count: float | None) -> str:
    """Return a number of bytes in binary units."""
    if count is None:
        return UNKNOWN
    for unit in ("B", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if abs(count) < 1024 or unit == "PiB":
            break
        count /= 1024
    return f"{count:.0f} {unit}" if unit == "B" or abs(count) >= 100 else f"{count:.1f} {unit}"


def percent(value: float | None) -> str:
    """Return a percentage with one decimal."""
    return UNKNOWN if value is None else f"{value:.1f} %"


def number(value: float | None) -> str:
    """Return a number without needless digits."""
    if value is None:
        return UNKNOWN
    return f"{value:.0f}" if abs(value) < 1e15 and value.is_integer() else f"{value:.6g}"


def plural(count: int, one: str, many: str = "") -> str:
    """Return a count with its noun."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def labels(named: Mapping[str, str]) -> str:
    """Return labels as PromQL writes them."""
    pairs = [
        f"{name}={msgspec.json.encode(value).decode()}"
        for name, value in named.items()
        if name != "__name__"
    ]
    inside = "{" + ", ".join(pairs) + "}" if pairs else ""
    return named.get("__name__", "") + inside or "{}"


def moment(text: str) -> datetime:
    """Return a wire time in the local zone, or as it is where that has no such time."""
    when = datetime.fromisoformat(text)
    try:
        return when.astimezone()
    except (ValueError, OverflowError):
        return when


def local_time(text: str | None) -> str:
    """Return a wire time as the local clock shows it, to the second."""
    return UNKNOWN if text is None else moment(text).strftime("%Y-%m-%d %H:%M:%S")


def full_time(text: str | None) -> str:
    """Return a wire time as the local clock shows it, with milliseconds and its zone."""
    if text is None:
        return UNKNOWN
    local = moment(text)
    return f"{local:%Y-%m-%d %H:%M:%S}.{local.microsecond // 1000:03d} {local:%Z}"


def ago(text: str | None, now: datetime) -> str:
    """Return how long ago a wire time is."""
    if text is None:
        return "never"
    seconds = (now - moment(text)).total_seconds()
    return "now" if seconds < 1 else f"{duration(seconds)} ago"


def parse_duration(text: str) -> float:
    """Return the seconds of `90`, `90s`, `1h30m`, `2d`.

    Raises:
        ValueError: the text is no duration.
    """
    text = text.strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    parts = _PART.findall(text)
    if not parts or "".join(amount + unit for amount, unit in parts) != text:
        raise ValueError(f"{text!r} is no duration such as 90s, 15m, 1h30m or 2d")
    return float(sum(float(amount) * _UNITS_S[unit] for amount, unit in parts))


def parse_moment(text: str, now: datetime) -> datetime:
    """Return the moment of `2h` (ago), `08:30` (today), `2026-01-31`, `2026-01-31 08:30` or RFC
    3339; what has no zone is local time.

    Raises:
        ValueError: the text is no time.
    """
    try:
        if not re.fullmatch(r"[\d.]+", text):
            return now - timedelta(seconds=parse_duration(text))
    except (ValueError, OverflowError):
        pass
    today = now.astimezone().date().isoformat()
    for candidate in (text, f"{today} {text}"):
        try:
            return datetime.fromisoformat(candidate).astimezone(UTC)
        except (ValueError, OverflowError):
            continue
    raise ValueError(
        f"{text!r} is no time such as 2h (ago), 08:30, 2026-01-31 or 2026-01-31T08:30:00Z"
    )


def wire_time(when: datetime) -> str:
    """Return a moment as it goes over the wire."""
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
