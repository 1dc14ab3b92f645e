"""storewatchctl probes record: takes a recording from the daemon and writes it to a file."""

import os
from pathlib import Path

import click
import msgspec

from storewatch import clock
from storewatch.ctl import words
from storewatch.ctl.session import Session, given
from storewatch.errors import ClientError
from storewatch.plain import PlainClient
from storewatch.wire import params, types

PROGRESS_S = 5.0


def record_to(session: Session, seconds: float, path: str) -> None:
    """Record for so long into a new file, which only this user may read.

    Raises:
        ClientError: the daemon refused or went away; what came so far is in the file.
        click.ClickException: the file cannot be made.
    """
    asked = params.ProbesRecord(seconds=seconds)
    began = said = clock.monotonic()
    size = 0
    with PlainClient(session.socket, timeout_s=session.timeout_s) as client:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            why = os.strerror(error.errno or 0).lower()
            raise click.ClickException(f"{path} cannot be made: {why}") from error
        with open(descriptor, "wb") as file:
            try:
                client.call("probes.record", given(asked))
            except BaseException:
                Path(path).unlink()
                raise
            try:
                for method, told in client.notifications():
                    if method == "end":
                        break
                    piece = msgspec.convert(told, types.RecordingPiece)
                    size += file.write(piece.data)
                    if clock.monotonic() - said >= PROGRESS_S:
                        said = clock.monotonic()
                        file.flush()
                        session.out.note(_so_far(said - began, seconds, size))
            except KeyboardInterrupt:
                session.out.note("ended early")
            except ClientError:
                session.out.note(f"what was recorded so far is in {path}")
                raise
    spent = words.duration(clock.monotonic() - began)
    session.out.line(f"recorded {spent} in {path}, {words.size(size)}")


def _so_far(spent_s: float, whole_s: float, size: int) -> str:
    spent, whole = words.duration(spent_s), words.duration(whole_s)
    return f"recorded {spent} of {whole}, {words.size(size)}"
