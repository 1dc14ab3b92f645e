"""Measures what there are bars for, and says how each figure stands to its bar.

A figure over its bar ends nothing: machines differ, and this is for eyes, not for CI.
"""

import argparse
import logging
import os
import platform
import sys
from pathlib import Path

from bench import detect, endurance, hardware, programs, rules, scst, store
from bench.measure import report

BENCHES = (
    *programs.BENCHES,
    *rules.BENCHES,
    *store.BENCHES,
    *hardware.BENCHES,
    *scst.BENCHES,
    *detect.BENCHES,
    *endurance.BENCHES,
)


def main() -> int:
    """Run the benches that are asked for, or all; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="packaging/dev bench",
        description="Measure Storewatch on this machine.",
        epilog="; ".join(f"{bench.name}: {bench.about}" for bench in BENCHES),
    )
    names = [bench.name for bench in BENCHES]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}")
    asked = parser.parse_args().names
    for name in asked:
        if name not in names:
            parser.error(f"there is no bench {name!r}; there are {', '.join(names)}")
    logging.disable(logging.CRITICAL)  # what is measured is not what is said meanwhile
    print(f"{_processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, ", end="")
    print(f"Linux {platform.release()}, Python {platform.python_version()}")
    for bench in BENCHES:
        if bench.name not in asked and (asked or bench.if_asked):
            continue
        print(f"{bench.name}: {bench.about}", flush=True)
        samples: dict[str, list[float]] = {}
        for figure, value in bench.take():
            samples.setdefault(figure, []).append(value)
        for line in report(bench, samples):
            print(line, flush=True)
    return 0


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    sys.exit(main())
