"""The format of a recording: what was learned of the outside world, and what was decided from it.

A recording is the line `storewatch recording 1`, then a zlib stream (RFC 1950) of messages, each a
length (four bytes, big endian) and a MessagePack array whose first element is its kind:

- `start`, once and first: a map with `version`, `node`, `seed` (of the ids), `now` (wall clock,
  monotonic clock and for how long the machine was ever suspended, seconds), `before` (the same of
  the round before) and the `books` as they stood then;
- `fact`: wall clock, duration in seconds, row of the reader's table, object, outcome (`value`, or
  the name of an error), value or reason: what came through the port. A host fact has the row
  `host` and its name as object;
- `round`: wall clock, monotonic clock, time suspended, inputs in the order in which they were
  taken, each a pair of its name and its fields;
- `transitions`: what that round did to alerts, each kind, alert and reason as JSON text;
- `end`: the reason; missing where the recording was cut off.

Tokens are never in it: commands about them change no alert. Facts with secrets are redacted by
the reader, before they come through the port.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from storewatchd.core import commands
from storewatchd.core.commands import Command, PutToken, Rebuild, ReplaceRules, RevokeToken
from storewatchd.core.frames import Frame
from storewatchd.core.inputs import Expected, Input, Once
from storewatchd.core.model import Instant, Transition
from storewatchd.core.rules import RuleFile, load
from storewatchd.errors import RecordingError

MAGIC = b"storewatch recording 1\n"
MAX_MESSAGE_BYTES = 256 << 20

_LENGTH = struct.Struct(">I")
_KINDS: Mapping[str, type[Any]] = {
    kind.__name__: kind
    for kind in (Frame, Expected, Once, *commands.KINDS)
    if kind not in (PutToken, RevokeToken, ReplaceRules)
}


class _Rules(msgspec.Struct):
    """What `ReplaceRules` is recorded as: the texts, to be made ready again."""

    actor: str
    files: list[RuleFile]
    interval_s: float


class Writer:
    """Turns messages into a recording's bytes, piece by piece."""

    def __init__(self) -> None:
        self._stream = zlib.compressobj(6)
        self._begun = False

    def write(self, message: Iterable[Any]) -> bytes:
        """Return the bytes that a message adds; often none yet."""
        told = msgspec.msgpack.encode(list(message))
        head = b"" if self._begun else MAGIC
        self._begun = True
        return head + self._stream.compress(_LENGTH.pack(len(told)) + told)

    def flush(self) -> bytes:
        """Return what waits, so that a recording that is cut off here can be read so far."""
        return self._stream.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        return self._stream.flush(zlib.Z_FINISH)


def messages(chunks: Iterable[bytes]) -> Iterator[list[Any]]:
    """Yield a recording's messages; one that is cut off ends early.

    Raises:
        RecordingError: these are no recording's bytes, or too few of them.
    """
    stream = zlib.decompressobj()
    head, waiting = b"", bytearray()
    for chunk in chunks:
        if len(head) < len(MAGIC):
            head += chunk
            if not head.startswith(MAGIC[: len(head)]):
                raise RecordingError("this is another file, and no recording of Storewatch")
            if len(head) < len(MAGIC):
                continue
            chunk = head[len(MAGIC) :]
            head = MAGIC
        while chunk:
            waiting += _decompressed(stream, chunk)
            chunk = stream.unconsumed_tail
            yield from _taken(waiting)
    if len(head) < len(MAGIC):
        found = "is cut short, within its first bytes" if head else "is empty"
        raise RecordingError(f"the recording {found}")


def _decompressed(stream: Any, chunk: bytes) -> bytes:
    try:
        found: bytes = stream.decompress(chunk, 1 << 20)
    except zlib.error as error:
        raise RecordingError(f"the recording is damaged: {error}") from error
    return found


def _taken(waiting: bytearray) -> Iterator[list[Any]]:
    while len(waiting) >= _LENGTH.size:
        (length,) = _LENGTH.unpack_from(waiting)
        if length > MAX_MESSAGE_BYTES:
            raise RecordingError("the recording is damaged: a message is too long")
        end = _LENGTH.size + length
        if len(waiting) < end:
            return
        try:
            message = msgspec.msgpack.decode(bytes(waiting[_LENGTH.size : end]))
        except msgspec.MsgspecError as error:
            raise RecordingError(f"the recording is damaged: {error}") from error
        if not isinstance(message, list) or not message or not isinstance(message[0], str):
            raise RecordingError("the recording is damaged: a message has no kind")
        del waiting[:end]
        yield message


def round_message(now: Instant, inputs: Iterable[Input]) -> list[Any]:
    """Return the message of a round."""
    told = [_told(one) for one in inputs if not isinstance(one, PutToken | RevokeToken)]
    return ["round", *now, told]


def round_of(message: list[Any]) -> tuple[Instant, list[Input]]:
    """Return what `round_message` was made of, less commands about tokens.

    Raises:
        RecordingError: it is none.
    """
    try:
        _, *now, told = message
        return Instant(*now), [_input(*one) for one in told]
    except (ValueError, TypeError, KeyError, msgspec.ValidationError) as error:
        raise RecordingError(f"the recording holds a round that cannot be read: {error}") from error


def transitions_message(transitions: Iterable[Transition]) -> list[Any]:
    """Return the message of what a round did to alerts."""
    return ["transitions", [transition_line(one) for one in transitions]]


def transition_line(transition: Transition) -> bytes:
    """Return one transition as JSON, the same bytes for the same transition."""
    return msgspec.json.encode(
        {
            "kind": transition.kind,
            "alert": transition.alert.to_json(),
            "reason": dict(transition.reason),
        }
    )


def _told(one: Input) -> tuple[str, Any]:
    if isinstance(one, Rebuild):
        return "Rebuild", replace(one, tokens=())
    if isinstance(one, ReplaceRules):
        files = list(one.rules.files)
        return "ReplaceRules", _Rules(one.actor, files, one.rules.interval_s)
    return type(one).__name__, one


def _input(name: str, fields: Any) -> Input:
    if name == "ReplaceRules":
        told = msgspec.convert(fields, _Rules)
        rules, _ = load(told.files, interval_s=told.interval_s)
        replaced: Command = ReplaceRules(told.actor, rules)
        return replaced
    made: Input = msgspec.convert(fields, _KINDS[name])
    return made
