"""The daemon's command line."""

import argparse
import asyncio
import importlib.metadata
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from storewatchd import app, heap
from storewatchd.clock import Clock
from storewatchd.errors import StorewatchError
from storewatchd.replay import replay
from storewatchd.settings import Source


def main(argv: Sequence[str] | None = None) -> int:
    """Run the daemon with these words, or those of the command line; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="storewatchd", description="Watch this storage appliance and say what broke."
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings (TOML)")
    parser.add_argument("--state-directory", type=_absolute, metavar="DIR")
    parser.add_argument("--runtime-directory", type=_absolute, metavar="DIR")
    parser.add_argument("--check-config", action="store_true", help="check the settings and stop")
    parser.add_argument(
        "--replay", type=Path, metavar="FILE", help="replay a recording; print its transitions"
    )
    parser.add_argument(
        "--speed", type=_speed, metavar="N", help="replay at N times the pace (usually: max)"
    )
    parser.add_argument("--debug", action="store_true", help="show where an error came from")
    version = importlib.metadata.version("storewatch")
    parser.add_argument("--version", action="version", version=f"storewatchd {version}")
    words = parser.parse_args(argv)
    if words.speed is not None and words.replay is None:
        parser.error("--speed goes with --replay")
    source = Source(words.config, words.state_directory, words.runtime_directory)
    try:
        if words.check_config:
            print(app.check(source))  # noqa: T201  the answer is this command's output
            return 0
        if words.replay is not None:
            return asyncio.run(_replay(words.replay, version, words.speed))
        heap.settle()
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        return asyncio.run(app.run(source, Clock()))
    except StorewatchError as error:
        if words.debug:
            raise
        print(f"storewatchd: {error}", file=sys.stderr)  # noqa: T201  no logging yet or any more
        return 1


async def _replay(path: Path, version: str, speed: float | None) -> int:
    """Print a recording's transitions; return 0 where they are as they were recorded."""

    def tell(line: bytes) -> None:
        sys.stdout.buffer.write(line + b"\n")
        sys.stdout.buffer.flush()

    found = await replay(path, version=version, tell=tell, speed=speed)
    print(f"storewatchd: {found}", file=sys.stderr)  # noqa: T201  the outcome, beside the lines
    return 0 if found.differs_at is None else 1


def _speed(word: str) -> float:
    """Return a pace; "max", and leaving it out, is at once."""
    if word == "max":
        return float("inf")
    try:
        speed = float(word)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number over 0 (or max), found {word!r}")
    return speed


def _absolute(word: str) -> Path:
    """Return a path that means the same to PostgreSQL, which runs elsewhere."""
    return Path(word).absolute()


if __name__ == "__main__":
    sys.exit(main())
