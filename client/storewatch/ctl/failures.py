"""From an error to one sentence, a hint and an exit code: the only place that decides them."""

import errno
from enum import IntEnum
from typing import NamedTuple

import click

from storewatch.ctl.words import line
from storewatch.errors import (
    CallError,
    ClientError,
    ConnectionLost,
    ProtocolError,
    Unreachable,
    Unsendable,
)
from storewatch.wire import Code


class Exit(IntEnum):
    """How storewatchctl ends."""

    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    FORBIDDEN = 4
    NOT_FOUND = 5


class Failure(NamedTuple):
    """What to say, what to try, and how to end. `word` is for programs, where it says more than
    the exit code."""

    sentence: str
    hint: str
    code: int
    word: str = ""

    @property
    def document(self) -> dict[str, dict[str, str]]:
        """What to say to a program."""
        code = self.word or Exit(self.code).name.lower()
        return {"error": {"code": code, "message": self.sentence}}


class Problem(Exception):
    """A command's own finding that ends it: the sentence, a hint and the exit code."""

    def __init__(self, sentence: str, hint: str = "", code: Exit = Exit.FAILED) -> None:
        super().__init__(sentence)
        self.hint = hint
        self.code = code


EXPLAINED = (ClientError, Problem, click.ClickException, click.Abort, OSError)
"""What `explain` has words for."""


_CALLS: dict[int, tuple[Exit, str]] = {
    Code.INVALID_PARAMS: (Exit.USAGE, "-h shows what the command takes"),
    Code.UNAUTHENTICATED: (Exit.FORBIDDEN, ""),
    Code.FORBIDDEN: (
        Exit.FORBIDDEN,
        "root may do everything, the group storewatch read and write, storewatch-read only read",
    ),
    Code.NOT_FOUND: (Exit.NOT_FOUND, ""),
    Code.CONFLICT: (Exit.FAILED, ""),
    Code.UNAVAILABLE: (Exit.FAILED, "storewatchctl health shows what is away"),
    Code.LIMIT_REACHED: (Exit.FAILED, "try again in a moment"),
    Code.METHOD_NOT_FOUND: (
        Exit.FAILED,
        "the daemon is older than this storewatchctl: restart it after an upgrade",
    ),
    Code.INTERNAL_ERROR: (Exit.FAILED, "journalctl -u storewatchd has the details"),
}


def explain(error: BaseException) -> Failure:
    """Return what an error means to the person at the terminal."""
    if isinstance(error, Problem):
        return Failure(str(error), error.hint, error.code)
    if isinstance(error, click.ClickException):
        return _usage(error)
    if isinstance(error, CallError):
        code, hint = _CALLS.get(error.code, (Exit.FAILED, ""))
        if isinstance(error.data, dict) and "line" in error.data:
            hint = ""  # a text of the caller's own is wrong, at that place
        word = Code(error.code).name.lower() if error.code in set(Code) else ""
        return Failure(error.message, hint, code, word)
    if isinstance(error, Unreachable):
        return _unreachable(error)
    if isinstance(error, ConnectionLost):
        return Failure(str(error), "journalctl -u storewatchd may say why", Exit.UNREACHABLE)
    if isinstance(error, Unsendable):
        return Failure(str(error), "", Exit.USAGE)
    if isinstance(error, ProtocolError):
        hint = "is --socket the daemon's control socket, and of the same version?"
        return Failure(str(error), hint, Exit.FAILED)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return Failure(f"{where}{(error.strerror or str(error)).lower()}", "", Exit.FAILED)
    return Failure(str(error), "", Exit.FAILED)


def _unreachable(error: Unreachable) -> Failure:
    if error.errno in (errno.EACCES, errno.EPERM):
        return Failure(str(error), "the socket's directory is closed to you", Exit.FORBIDDEN)
    return Failure(
        str(error),
        "systemctl status storewatchd shows whether it runs; --socket or STOREWATCH_SOCKET name "
        "another socket",
        Exit.UNREACHABLE,
    )


def _usage(error: click.ClickException) -> Failure:
    sentence = line(error.format_message()).rstrip(".")
    if isinstance(error, click.MissingParameter):
        sentence = sentence.replace("'. ", "': ", 1)
    hint = ""
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx is not None else "storewatchctl"
        hint = f"{path} -h shows what it takes"
        if "such option" in sentence and path.endswith("tasks run"):
            hint = "put -- before the command: storewatchctl tasks run NAME -- COMMAND…"
    code = Exit.USAGE if isinstance(error, click.UsageError | click.FileError) else error.exit_code
    if not sentence[:2].isupper():
        sentence = sentence[:1].lower() + sentence[1:]
    return Failure(sentence, hint, code)
