"""What a drive transfers, from look to look, by the kernel's statistics: how fast, for how long too
slowly to keep the tape moving, and since when nothing. Pure.

A drive that is written slower than its lowest speed has to stop and wind back again and again. What
counts is the rate on the tape; the host's is taken for it, so that data that compresses well may be
too slow without being told.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from storewatchd.scsi.density import SPEEDS

DIRECTIONS = (("read", "read_byte_cnt"), ("write", "write_byte_cnt"))

_COUNTERS = ("read_cnt", "write_cnt", "other_cnt", "read_byte_cnt", "write_byte_cnt")
# ULT3580-TD8, ULTRIUM-HH9 (IBM, Quantum); Ultrium 8-SCSI (HPE).
_GENERATION = re.compile(r"(?:T[DH]|HH|ULTRIUM[ -])(?P<number>[1-9])\b", re.IGNORECASE)


def lowest_speed(product: str, cartridge: str) -> int | None:
    """Return how fast a drive has to be written, bytes a second: by the generation of the cartridge
    in it, such as LTO-8, where that is known, otherwise by its own. None where neither is."""
    drive = _GENERATION.search(product)
    known = SPEEDS.get(cartridge) or SPEEDS.get(f"LTO-{drive['number']}" if drive else "")
    return known.lowest_bytes_per_s if known else None


@dataclass(slots=True)
class Stream:
    """The transfers of one drive. Times are Unix seconds, `looked_at` is monotonic.

    `rates` are those between the last two looks, of a direction in which something moved; None
    before there were two. `io_at` is when a counter last moved, or was first seen; `held_since`
    when somebody who holds it was first seen, None while nobody does.
    """

    io_at: float | None = None
    held_since: float | None = None
    writing_s: float = 0.0
    slow_s: float = 0.0
    rates: Mapping[str, float] | None = None
    _counts: dict[str, int] = field(default_factory=dict)
    _looked_at: float | None = None

    def take(
        self,
        statistics: Mapping[str, int],
        *,
        is_held: bool,
        lowest: int | None,
        wall: float,
        monotonic: float,
    ) -> None:
        """Take a look at the statistics."""
        counts = {name: statistics[name] for name in _COUNTERS if name in statistics}
        self.held_since = (self.held_since or wall) if is_held else None
        if self._looked_at is not None and monotonic > self._looked_at:
            self._note_rates(counts, monotonic - self._looked_at, lowest)
        if counts != self._counts or self.io_at is None:
            self.io_at = wall
        self._counts, self._looked_at = counts, monotonic

    def _note_rates(self, counts: Mapping[str, int], seconds: float, lowest: int | None) -> None:
        moved = {
            direction: counts[name] - self._counts[name]
            for direction, name in DIRECTIONS
            if name in counts and name in self._counts
        }
        self.rates = {way: count / seconds for way, count in moved.items() if count > 0}
        if lowest is not None and "write" in self.rates:
            self.writing_s += seconds
            if self.rates["write"] < lowest:
                self.slow_s += seconds

    def to_plain(self) -> dict[str, Any]:
        """Return what has to be kept over a restart."""
        return {
            "io_at": self.io_at,
            "held_since": self.held_since,
            "counts": dict(self._counts),
            "writing_s": self.writing_s,
            "slow_s": self.slow_s,
        }


def restored(kept: Mapping[str, Any]) -> Stream:
    """Return the stream that `to_plain` told of.

    Raises:
        KeyError, TypeError, ValueError: it told nothing like that.
    """
    io_at, held_since = kept["io_at"], kept["held_since"]
    return Stream(
        None if io_at is None else float(io_at),
        None if held_since is None else float(held_since),
        float(kept["writing_s"]),
        float(kept["slow_s"]),
        _counts={str(name): int(count) for name, count in dict(kept["counts"]).items()},
    )
