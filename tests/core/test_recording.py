"""The format of a recording: whole, cut off, damaged; and inputs through it."""

import zlib
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.fix_engine import NOON, Desk, rule, rule_set
from fix_records import alert
from storewatchd.core import recording
from storewatchd.core.commands import (
    AcknowledgeAlert,
    Announce,
    CreateAlert,
    FinishTask,
    PutToken,
    Rebuild,
    ReplaceRules,
    RevokeToken,
)
from storewatchd.core.frames import Frame, Outcome, Row, Scope
from storewatchd.core.inputs import Expected, Input, Once
from storewatchd.core.model import Alert, EventType, Instant, Severity
from storewatchd.core.permissions import Permission, Token
from storewatchd.errors import RecordingError

AT = Instant(NOON, 5.5)
CREATE = CreateAlert(actor="a", severity=Severity.INFO, source="s", title="t", labels={"x": "y"})
TOKEN = Token(
    id="1",
    name="n",
    permissions=frozenset({Permission.READ}),
    digest="secret digest",
    created_at=NOON,
    created_by="root",
)
INPUTS: tuple[Input, ...] = (
    Frame(
        Scope("p", (("a", "b"),)),
        NOON,
        rows={"f": [Row(("x",), float("inf")), Row(("y",), -0.0)]},
        duration_s=0.25,
    ),
    Frame(Scope("p"), NOON, Outcome.FAILED, reason="stuck"),
    Expected("p", (Scope("p"), Scope("p", (("a", "c"),)))),
    CREATE,
    Once("key", CREATE),
    AcknowledgeAlert("root", "id", None),
    FinishTask(actor="root", id="run", exit_status=3, output="boom"),
    Announce(EventType.SYSTEM, "kind", {"a": [1, None]}),
)


def written(*messages: list[Any]) -> bytes:
    writer = recording.Writer()
    return b"".join([*map(writer.write, messages), writer.finish()])


def read(content: bytes, *, piece: int = 7) -> list[list[Any]]:
    pieces = [content[place : place + piece] for place in range(0, len(content), piece)]
    return list(recording.messages(pieces))


def test_inputs_come_back_as_they_were_in_their_order() -> None:
    (message,) = read(written(recording.round_message(AT, INPUTS)))
    assert recording.round_of(message) == (AT, list(INPUTS))


def test_nothing_about_tokens_is_recorded() -> None:
    message = recording.round_message(AT, [PutToken("root", TOKEN), RevokeToken("root", "1")])
    assert message == ["round", *AT, []]


def test_what_is_taken_back_is_recorded_without_tokens() -> None:
    lost = Rebuild(
        alerts=((alert("node"), {"series": {"a": "1"}}),), repositories={"a": "/a"}, tokens=(TOKEN,)
    )
    (message,) = read(written(recording.round_message(AT, [lost])))
    assert recording.round_of(message) == (AT, [replace(lost, tokens=())])


def test_rules_are_recorded_by_their_text() -> None:
    command = ReplaceRules("root", rule_set(rule()))
    (message,) = read(written(recording.round_message(AT, [command])))
    _, (found,) = recording.round_of(message)
    assert isinstance(found, ReplaceRules)
    assert [(one.name, one.version) for one in found.rules] == [
        (one.name, one.version) for one in command.rules
    ]
    assert found.rules.files == command.rules.files


@given(
    st.lists(st.lists(st.text(max_size=5), max_size=3), min_size=1, max_size=5), st.integers(1, 50)
)
def test_messages_come_back_whatever_the_pieces(told: list[list[str]], piece: int) -> None:
    messages: list[list[Any]] = [["kind", *one] for one in told]
    assert read(written(*messages), piece=piece) == messages


def test_what_is_cut_off_can_be_read_so_far() -> None:
    writer = recording.Writer()
    begun = writer.write(["a", 1]) + writer.write(["b", 2]) + writer.flush()
    lost = writer.write(["c", 3]) + writer.finish()
    assert read(begun) == [["a", 1], ["b", 2]]
    assert read(begun + lost[:1]) == [["a", 1], ["b", 2]]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        pytest.param(b"", "is empty", id="nothing"),
        pytest.param(recording.MAGIC[:5], "is cut short", id="half-a-head"),
        pytest.param(b"PK\x03\x04 a long one", "is another file, and no recording", id="another"),
    ],
)
def test_what_does_not_begin_as_a_recording_is_refused(content: bytes, why: str) -> None:
    with pytest.raises(RecordingError, match=why):
        read(content)


@pytest.mark.parametrize(
    "inside",
    [
        pytest.param(None, id="no-stream"),
        pytest.param(b"\xff\xff\xff\xff", id="endless"),
        pytest.param(b"\0\0\0\1\xc1", id="no-messagepack"),
        pytest.param(b"\0\0\0\1\x07", id="no-array"),
        pytest.param(b"\0\0\0\2\x91\x07", id="no-kind"),
        pytest.param(b"\0\0\0\1\x90", id="empty"),
    ],
)
def test_a_damaged_one_is_named(inside: bytes | None) -> None:
    stream = b"nonsense" if inside is None else zlib.compress(inside)
    with pytest.raises(RecordingError, match="is damaged"):
        read(recording.MAGIC + stream)


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(["round", 1.0], id="short"),
        pytest.param(["round", 1.0, 2.0, [["Nonsense", {}]]], id="another-kind"),
        pytest.param(["round", 1.0, 2.0, [["Frame", {"scope": 1}]]], id="another-shape"),
        pytest.param(["round", 1.0, 2.0, [["PutToken", {}]]], id="token"),
    ],
)
def test_a_round_that_is_none_is_refused(message: list[Any]) -> None:
    with pytest.raises(RecordingError, match="a round that cannot be read"):
        recording.round_of(message)


@given(st.binary(max_size=200))
def test_garbage_never_gets_further_than_a_sentence(garbage: bytes) -> None:
    for content in (garbage, recording.MAGIC + garbage, recording.MAGIC + zlib.compress(garbage)):
        try:
            found = read(content)
        except RecordingError:
            continue
        for message in found:
            assert isinstance(message[0], str)


def test_transitions_are_recorded_as_the_bytes_that_a_replay_compares() -> None:
    (fired,) = Desk(rule()).see({"a": 0.9})
    message = recording.transitions_message([fired])
    assert message == ["transitions", [recording.transition_line(fired)]]
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(message)) == message
    told = msgspec.json.decode(message[1][0])
    assert (told["kind"], Alert.from_json(told["alert"])) == ("firing", fired.alert)
    assert told["reason"] == fired.reason
