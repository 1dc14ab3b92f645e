"""How long a page of a list may be: a client takes no line that is longer than its own bound, and
one that is much shorter holds up fewer of those that share a connection."""

from collections.abc import Iterable

import msgspec

PAGE_BYTES = 8 << 20


def fitting(rows: Iterable[bytes]) -> list[msgspec.Raw]:
    """Return the first rows, as JSON, that fit on one page; always at least one where there is
    one."""
    page: list[msgspec.Raw] = []
    size = 0
    for row in rows:
        size += len(row)
        if page and size > PAGE_BYTES:
            break
        page.append(msgspec.Raw(row))
    return page
