"""The rules of the demonstration: those that ship, in less time."""

import re
from pathlib import Path

from storewatchd.rule_files import built_in_files

FASTER = 20
"""How many times sooner a rule fires, and ends, than the one that ships."""

LEAST_WINDOW_S = 20
"""Looks come once a second: a window has to have some of them."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LASTS = re.compile(r"^( +(?:for|keep_firing_for): )(\d+)([smhd])$", re.MULTILINE)
_WINDOW = re.compile(r"\[(\d+)([smhd])\]")
_OFFSET = re.compile(r"(\boffset )(\d+)([smhd])\b")


def write_rules(directory: Path, times: float) -> None:
    """Write the rules that ship into a directory, so many times faster."""
    directory.mkdir()
    for file in built_in_files():
        (directory / file.path).write_text(faster(file.text, times))


def faster(text: str, times: float) -> str:
    """Return a rule file whose durations and windows are so many times shorter."""

    def seconds(count: str, unit: str, least: int) -> str:
        return f"{max(least, round(int(count) * _UNITS[unit] / times))}s"

    text = _LASTS.sub(lambda m: m[1] + seconds(m[2], m[3], 1), text)
    text = _OFFSET.sub(lambda m: m[1] + seconds(m[2], m[3], 2), text)
    return _WINDOW.sub(lambda m: f"[{seconds(m[1], m[2], LEAST_WINDOW_S)}]", text)
