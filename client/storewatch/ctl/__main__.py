"""The command line: words in, exit status out."""

import io
import itertools
import os
import sys
from collections.abc import Sequence

import click

from storewatch.ctl.failures import EXPLAINED, explain
from storewatch.ctl.output import Output
from storewatch.ctl.root import root
from storewatch.ctl.session import Session
from storewatch.wire import encode

BROKEN_PIPE = 141  # as a shell reports a program that SIGPIPE ended
INTERRUPTED = 130


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show a character gets a substitute, never a traceback.
            stream.reconfigure(errors="backslashreplace")
    session = Session(Output())
    words = sys.argv[1:] if words is None else list(words)
    try:
        status = _run(words, session)
        sys.stdout.flush()
    except BrokenPipeError:
        # Nobody reads any more; what the interpreter still flushes goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (KeyboardInterrupt, click.exceptions.Abort):
        if sys.stderr.isatty():
            sys.stderr.write("\n")  # what follows the terminal's ^C
        return INTERRUPTED
    except EXPLAINED as error:
        if session.is_debugging:
            raise
        failure = explain(error)
        # A wrong word may be found before --json is.
        if session.as_json or "--json" in itertools.takewhile("--".__ne__, words):
            session.out.json_error(encode(failure.document))
            return int(failure.code)
        session.out.note(failure.sentence)
        if failure.hint:
            sys.stderr.write(f"hint: {failure.hint}\n")
        return int(failure.code)
    finally:
        session.close()
    return status if isinstance(status, int) else 0


def _run(words: list[str], session: Session) -> object:
    # click's own `main` would turn a reader that leaves and an interrupt into words of its own.
    try:
        with root.make_context("storewatchctl", words, obj=session) as context:
            return root.invoke(context)
    except click.exceptions.Exit as ending:
        return ending.exit_code


def _open_closed_streams() -> None:
    """Put /dev/null where a standard stream is closed, so that no pipe of ours gets its number."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115  it stays open


if __name__ == "__main__":
    sys.exit(main())
