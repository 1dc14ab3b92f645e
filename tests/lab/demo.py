"""`packaging/dev demo`: the whole product on an emulated appliance, and trouble to watch.

Everything is in a temporary directory, and goes with it when this ends.
"""

import argparse
import asyncio
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any

from lab.demo_memory import remember
from lab.demo_play import LENGTH_S, Told, steps
from lab.demo_programs import DemoError, EnvFile, Programs, running_daemon
from lab.demo_rules import FASTER
from lab.demo_stage import TARGET_A, VEEAM, Stage
from lab.tape.shim import BuildError
from storewatch import ClientError

_TICK_S = 0.25
_SEEN_WITHIN_S = 30.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    """Show it; return the exit status."""
    words = _words()
    for number in _SIGNALS:
        signal.signal(number, _interrupt)
    try:
        with ExitStack() as undo:
            _check_free(words.port)
            # For root PostgreSQL runs as another user, which has to reach its data: others may not
            # be let into $TMPDIR.
            parent = "/tmp" if os.access("/tmp", os.W_OK) else None
            directory = Path(tempfile.mkdtemp(prefix="storewatch-demo-", dir=parent))
            undo.callback(shutil.rmtree, directory, ignore_errors=True)
            directory.chmod(0o755)
            stage = undo.enter_context(Stage(directory))
            stage.delete_backing()
            programs = undo.enter_context(
                Programs(
                    directory,
                    port=words.port,
                    reader_words=stage.reader_words,
                    reader_env=stage.reader_env,
                    repositories=stage.repositories,
                    faster=FASTER * words.speed,
                    remember=lambda state: asyncio.run(
                        remember(
                            state,
                            store=stage.vtl.store,
                            target=TARGET_A,
                            initiator=VEEAM,
                            session=stage.second_path,
                        )
                    ),
                )
            )
            undo.enter_context(EnvFile(_env_file(), programs))
            undo.callback(_stop_listening)
            _introduce(stage, programs, words.speed)
            show = Show(stage, programs, words.speed)
            show.play()
            if words.once:
                return 0 if show.has_seen_all else 1
            _say("The play is over; everything goes on, and Ctrl-C ends it.")
            show.go_on()
    except KeyboardInterrupt:
        print("storewatch: stopped", file=sys.stderr)
        # Who asked for one play did not get all of it.
        return 1 if words.once else 0
    except (DemoError, BuildError, ClientError, OSError) as error:
        print(f"storewatch: {error}", file=sys.stderr)
        return 1
    return 0


class Show:
    """The play while it runs, on a clock that goes `speed` times as fast."""

    def __init__(self, stage: Stage, programs: Programs, speed: float) -> None:
        self._stage = stage
        self._programs = programs
        self._speed = speed
        self.has_seen_all = True
        """Whether the daemon saw everything that had to be seen."""
        self._began = time.monotonic()
        self._told = Told()

    def play(self) -> None:
        """Play every step, and say how it ended."""
        for step in steps(self._stage, self._programs):
            self._wait_until(step.at_s)
            for rule in step.needs:
                self._wait_for(rule, lambda told, rule=rule: rule in told.rules)  # type: ignore[misc]
            self._print(step.line)
            step.act()
            self._wait_for("that", step.is_seen)
        self._wait_until(LENGTH_S)
        self._sum_up()

    def go_on(self) -> None:
        """Go on without trouble until interrupted."""
        while True:
            self._tick()

    @property
    def _now_s(self) -> float:
        return (time.monotonic() - self._began) * self._speed

    def _wait_until(self, at_s: float) -> None:
        while self._now_s < at_s:
            self._tick(min(_TICK_S, (at_s - self._now_s) / self._speed))

    def _wait_for(self, what: str, is_seen: Callable[[Told], bool]) -> None:
        end = time.monotonic() + _SEEN_WITHIN_S
        while not is_seen(self._told):
            if time.monotonic() > end:
                self.has_seen_all = False
                self._print(f"      the daemon has not seen {what} within {_SEEN_WITHIN_S:.0f} s")
                return
            self._tick()

    def _tick(self, pause_s: float = _TICK_S) -> None:
        self._programs.check()
        self._stage.move()
        self._listen()
        time.sleep(max(0.0, pause_s))  # the play has its own pace

    def _listen(self) -> None:
        asked: dict[str, Any] = {"types": ["alert", "tape"], "limit": 1000}
        if self._told.last_id is not None:
            asked["since"] = self._told.last_id
        for event in self._programs.call("events.list", **asked)["events"]:
            line = self._told.take(event)
            if line:
                self._print(line)

    def _print(self, line: str) -> None:
        minutes, seconds = divmod(int(self._now_s), 60)
        _say(f"{minutes:02}:{seconds:02} {line}")

    def _sum_up(self) -> None:
        self._listen()
        fired, resolved = Counter(self._told.fired), Counter(self._told.resolved)
        _say(f"\n{fired.total()} alerts fired: {', '.join(sorted({rule for rule, _ in fired}))}.")
        left = sorted({rule for rule, _ in fired - resolved})
        if left:
            _say(f"Still there: {', '.join(left)}; `storewatchctl alerts show ID` says why.")
        else:
            _say("All of them have ended.")


def _introduce(stage: Stage, programs: Programs, speed: float) -> None:
    _say(
        f"""
Storewatch watches an emulated appliance: a library with two drives, a virtual one of mhvtl, SCST
with three targets, and two repositories. Looks and rules come once a second here, and not every 30
seconds; rules wait {FASTER} times shorter than those that ship.

  URL      {programs.url}
  token    {programs.token}
  socket   {programs.socket}

Try, in another terminal in this directory:

  set -a; . .run/env; set +a; export PATH=$PWD/.venv/bin:$PATH
  storewatchctl alerts watch
  storewatchctl events --follow
  storewatchctl probes list

Ctrl-C stops everything and removes what it made.
"""
    )
    if not stage.has_own_repositories:
        _say(
            "Left out, as mounting small file systems needs root: repositories and a media store"
            " that fill up, and a management of SCST that is stuck.\n"
        )
    if stage.procfs:
        _say(
            "Of processes the reader is shown only the emulated backup program: more needs root.\n"
        )
    if speed != 1:
        _say(f"This is played {speed:g} times as fast, and rules wait so much shorter again.\n")


def _say(line: str) -> None:
    print(line, flush=True)


def _interrupt(number: int, frame: FrameType | None) -> None:
    _stop_listening()
    raise KeyboardInterrupt


def _stop_listening() -> None:
    """Let nothing interrupt the end."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _env_file() -> Path:
    return Path(".run/env").absolute()


def _check_free(port: int) -> None:
    pid = running_daemon(_env_file())
    if pid is not None:
        raise DemoError(
            f"Storewatch runs already from this directory (pid {pid}): end that run first, with"
            " Ctrl-C where it was started"
        )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise DemoError(f"port {port} is taken: choose another with --port N") from None


def _words() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="packaging/dev demo", description=__doc__)
    parser.add_argument("--port", type=_port, default=8474, metavar="N", help="serve HTTP here")
    parser.add_argument("--once", action="store_true", help="end when the play is over")
    parser.add_argument(
        "--speed", type=_speed, default=1.0, metavar="N", help="play N times as fast"
    )
    return parser.parse_args()


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to 65535, found {text!r}")
    return int(text)


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0.1 <= speed <= 100:
        raise argparse.ArgumentTypeError(f"expected a number from 0.1 to 100, found {text!r}")
    return speed


if __name__ == "__main__":
    sys.exit(main())
