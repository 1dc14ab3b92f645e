"""How the C library keeps a long-lived process's memory (mallopt(3)).

Usually it takes large blocks into the heap once it has seen one come and go, and gives each thread
a heap of its own. A daemon that passes a few megabytes on every few minutes, each time from another
thread, then keeps what they leave behind: by 100 MB an hour at a hundred times the usual rate.
"""

import ctypes

_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8

MAPPED_BYTES = 128 << 10
"""From this size on a block is given back to the kernel as soon as it is free."""


def settle() -> bool:
    """Hold large blocks apart, and all others in one heap; return False where the C library knows
    no such setting. To be called before there are threads."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_M_MMAP_THRESHOLD, MAPPED_BYTES), (_M_ARENA_MAX, 1))
    return all(mallopt(name, value) == 1 for name, value in settings)
