"""Times passes of the reader's worker against another program, pair by pair: in a process as small
as the reader, for a worker is born of it.

    python -m bench.walks ROW SYSFS PAIRS PROGRAM [WORD...]

Prints a line a pair: processor time of the worker and of the program, their births and ends
included, in seconds, and the worker's memory at most, in MB.
"""

import contextlib
import os
import sys
from collections.abc import Callable

from storewatch_reader import reads
from storewatch_reader.roots import Roots
from storewatch_reader.table import ROWS, TreeRow


def _cost_of(work: Callable[[], object]) -> tuple[float, float]:
    """Return what a child takes that does some work: seconds, and MB."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            work()
            os._exit(0)
        os._exit(1)
    _, status, usage = os.wait4(pid, 0)
    if status:
        sys.exit(f"a child ended with status {status}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e3


def main() -> None:
    name, sysfs, pairs, *program = sys.argv[1:]
    row, roots = ROWS[name], Roots(sysfs=sysfs)
    assert isinstance(row, TreeRow)

    def run() -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.execv(program[0], program)

    for _ in range(int(pairs)):
        mine, memory_mb = _cost_of(lambda: reads.tree(roots, row))
        theirs, _ = _cost_of(run)
        print(mine, theirs, memory_mb, flush=True)


if __name__ == "__main__":
    main()
