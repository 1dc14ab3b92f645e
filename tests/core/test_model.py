"""Times, identities and the shape of an alert."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storewatchd.core.model import (
    Alert,
    AlertState,
    Event,
    EventType,
    Instant,
    Severity,
    fingerprint,
    format_time,
    parse_time,
    to_milliseconds,
)

NOON = 1_767_268_800.0

ALERT = Alert(
    id="01a20be3-0098-777f-9238-04b609748277",
    rule="Full",
    severity=Severity.CRITICAL,
    source="storage",
    title="full",
    message="very",
    labels={"a": "b"},
    state=AlertState.FIRING,
    first_seen=NOON,
    last_seen=NOON + 1.5,
    node="n",
)


def test_an_instant_moves_on_all_clocks() -> None:
    later = Instant(NOON, 5.0, 3.0).later(2)
    assert later == (NOON + 2, 7.0, 3.0)
    assert later.awake == 4.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (NOON, "2026-01-01T12:00:00.000Z"),
        (NOON + 0.0019, "2026-01-01T12:00:00.001Z"),
        (0.0, "1970-01-01T00:00:00.000Z"),
        (None, None),
    ],
)
def test_times_are_rfc_3339_in_utc_with_milliseconds(
    seconds: float | None, text: str | None
) -> None:
    assert format_time(seconds) == text


@given(st.floats(0, 4e9))
def test_a_time_survives_its_text(seconds: float) -> None:
    assert parse_time(format_time(seconds)) == to_milliseconds(seconds)


@given(st.floats(0, 4e9))
def test_whole_milliseconds_stay_what_they_are(seconds: float) -> None:
    whole = to_milliseconds(seconds)
    assert to_milliseconds(whole) == whole


@given(st.floats(0, 4e9))
def test_milliseconds_are_never_later(seconds: float) -> None:
    assert to_milliseconds(seconds) <= seconds + 2e-6


def test_an_offset_is_understood_and_needed() -> None:
    assert parse_time("2026-01-01T13:00:00+01:00") == NOON
    assert parse_time(None) is None
    with pytest.raises(ValueError, match="has no offset"):
        parse_time("2026-01-01T12:00:00")
    with pytest.raises(ValueError, match="yesterday"):
        parse_time("yesterday")


@pytest.mark.parametrize(
    "text", ["0001-01-01T00:00:00.000Z", "0999-06-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z"]
)
def test_a_time_of_any_year_is_shown_as_it_was_said(text: str) -> None:
    assert format_time(parse_time(text)) == text


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"])
def test_a_time_that_cannot_be_shown_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not in the years 1 to 9999"):
        parse_time(text)


def test_identity_is_the_rule_and_the_labels_in_any_order() -> None:
    assert fingerprint("r", {"a": "1", "b": "2"}) == fingerprint("r", {"b": "2", "a": "1"})
    different = [("r", {"a": "1"}), ("ra", {"": "1"}), ("r", {"a1": ""}), ("q", {"a": "1"})]
    assert len({fingerprint(name, labels) for name, labels in different}) == 4


def test_an_alert_survives_its_shape() -> None:
    marked = ALERT.with_changes(
        acknowledged_by="ann", acknowledged_at=NOON + 3, acknowledged_note="x", stale_since=NOON
    )
    shape = msgspec.json.decode(msgspec.json.encode(marked.to_json()))
    assert Alert.from_json(shape) == marked
    assert shape["acknowledged"] is True
    assert (marked.version, ALERT.version) == (2, 1)


def test_the_shape_has_every_agreed_member() -> None:
    agreed = (
        "id rule severity source title message resource_type resource_id labels annotations state "
        "acknowledged acknowledged_by acknowledged_at acknowledged_note silenced_by inhibited_by "
        "stale_since flapping first_seen last_seen occurrences resolved_at resolved_by node version"
    )
    assert list(ALERT.to_json()) == agreed.split()


def test_open_is_what_is_not_resolved() -> None:
    assert ALERT.is_open
    assert not ALERT.acknowledged
    assert not ALERT.with_changes(state=AlertState.RESOLVED).is_open


def test_an_events_id_is_its_epoch_and_number() -> None:
    event = Event("e", 7, "n", NOON, EventType.ALERT, "firing", b"{}")
    assert event.id == "e.7"
