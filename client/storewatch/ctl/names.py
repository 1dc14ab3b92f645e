"""Short ids: what a narrow table shows, and what a person may type instead of the whole."""

from collections.abc import Iterable

from storewatch.ctl.failures import Exit, Problem

SHORT = 8
"""The end of an id is random; its beginning is the time, and the same for neighbours."""

_WHOLE = 36


def short(identity: str) -> str:
    """Return the end of an id, enough to tell it from others."""
    return identity[-SHORT:] if len(identity) == _WHOLE else identity


def whole_id(typed: str, known: Iterable[str], noun: str) -> str:
    """Return the one known id that ends with what was typed.

    Raises:
        Problem: there is none, or more than one.
    """
    found = sorted({one for one in known if one == typed or one.endswith(typed)})
    if typed in found or len(found) == 1:
        return typed if typed in found else found[0]
    if not found:
        raise Problem(
            f"there is no {noun} {typed!r}",
            f"storewatchctl {noun}s list shows their ids",
            Exit.NOT_FOUND,
        )
    raise Problem(
        f"{len(found)} {noun}s have an id that ends with {typed!r}",
        "type more of it: " + ", ".join(found[:3]),
        Exit.USAGE,
    )


def is_whole(typed: str) -> bool:
    """Return whether this may be a whole id, which the daemon alone can judge."""
    return len(typed) >= _WHOLE
