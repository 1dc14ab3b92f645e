"""How memory is kept, in a process of its own: it is a setting of the whole process."""

import ctypes
import subprocess
import sys

import pytest

from storewatchd import heap

# After a large block was freed, the C library by itself takes the next one into the heap.
_PROGRAM = """
import ctypes
from storewatchd import heap

class Figures(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "free_blocks", "fast_blocks", "mapped_blocks", "mapped_bytes",
        "max_used", "fast_bytes", "used_bytes", "free_bytes", "top_bytes")]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Figures
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
settled = heap.settle() if SETTLE else False
before = libc.mallinfo2().mapped_blocks
libc.free(libc.malloc(8 << 20))
libc.malloc(4 << 20)
print(settled, libc.mallinfo2().mapped_blocks - before)
"""


@pytest.mark.parametrize(("settle", "said"), [(True, "True 1"), (False, "False 0")])
def test_large_blocks_stay_apart_once_that_is_settled(settle: bool, said: str) -> None:
    program = _PROGRAM.replace("SETTLE", repr(settle))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == said


def test_a_c_library_without_such_settings_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert not heap.settle()
