"""How a row stands: whether it is there, and what is known of its value."""

from enum import IntEnum


class RowState(IntEnum):
    """How one row stands, as numbers in columns of small integers.

    The order is part of it: what is there comes after what may be, and bounds come last. A row
    with a bound is there, and its value is a number, not NaN, on that side of the bound.
    """

    ABSENT = 0
    UNKNOWN = 1  # it may also be absent
    EXACT = 2
    AT_LEAST = 3
    AT_MOST = 4

    @property
    def word(self) -> str:
        """What it is called outside: exact, at_least, at_most, unknown."""
        return self.name.lower()
