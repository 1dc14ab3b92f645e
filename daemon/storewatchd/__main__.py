"""The daemon's command line."""

import argparse
import asyncio
import importlib.metadata
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from storewatchd import app
from storewatchd.clock import Clock
from storewatchd.errors import StorewatchError
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
    parser.add_argument("--debug", action="store_true", help="show where an error came from")
    version = importlib.metadata.version("storewatch")
    parser.add_argument("--version", action="version", version=f"storewatchd {version}")
    words = parser.parse_args(argv)
    source = Source(words.config, words.state_directory, words.runtime_directory)
    try:
        if words.check_config:
            print(app.check(source))  # noqa: T201  the answer is this command's output
            return 0
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        return asyncio.run(app.run(source, Clock()))
    except StorewatchError as error:
        if words.debug:
            raise
        print(f"storewatchd: {error}", file=sys.stderr)  # noqa: T201  no logging yet or any more
        return 1


def _absolute(word: str) -> Path:
    """Return a path that means the same to PostgreSQL, which runs elsewhere."""
    return Path(word).absolute()


if __name__ == "__main__":
    sys.exit(main())
