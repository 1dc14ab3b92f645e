"""Times, sizes and texts as people read and write them."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storewatch.ctl import words

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put the local clock into a zone, as TZ says it."""
    import time

    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


IN_THE_EAST = pytest.mark.parametrize("zone", ["XST-5:30"], indirect=True)
IN_THE_WEST = pytest.mark.parametrize("zone", ["WST+8"], indirect=True)


@given(st.text())
def test_a_line_holds_nothing_that_a_terminal_acts_on(text: str) -> None:
    shown = words.line(text)
    assert "\n" not in shown
    assert "\r" not in shown
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in shown)
    assert not any("\u202a" <= char <= "\u202e" for char in shown)


def test_an_escape_is_shown_not_done() -> None:
    assert words.line("a\x1b[31mb\u202ec") == r"a\x1b[31mb\u202ec"


def test_a_block_keeps_its_lines() -> None:
    assert words.block("a\r\n\tb\nc\x07") == "a\n    b\nc\\x07"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "?"),
        (0, "0 s"),
        (0.0042, "4.2 ms"),
        (3.21, "3.2 s"),
        (59.6, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (3661, "1 h 1 min"),
        (86400 * 3 + 3600 * 4 + 59, "3 d 4 h"),
    ],
)
def test_a_duration_is_shown_in_its_two_largest_units(seconds: float | None, shown: str) -> None:
    assert words.duration(seconds) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (None, "?"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (209715200, "200 MiB"),
        (5 * 2**60, "5120 PiB"),
    ],
)
def test_a_size_is_shown_in_binary_units(count: float | None, shown: str) -> None:
    assert words.size(count) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "?"), (3.0, "3"), (0.123456789, "0.123457"), (float("inf"), "inf"), (1e300, "1e+300")],
)
def test_a_number_is_shown_without_needless_digits(value: float | None, shown: str) -> None:
    assert words.number(value) == shown


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("1.5h", 5400),
        ("1h30m", 5400),
        ("2d", 172800),
        ("250ms", 0.25),
        (" 1w ", 604800),
    ],
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert words.parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "1x", "1h 30", "-5m", "1h30", "h1", "1h!"])
def test_what_is_no_duration_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration such as"):
        words.parse_duration(text)


@IN_THE_EAST
@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize(
    ("text", "wire"),
    [
        pytest.param("2h", "2026-01-31T10:00:00.000Z", id="ago"),
        pytest.param("08:30", "2026-01-31T03:00:00.000Z", id="today, local"),
        pytest.param("2026-01-30", "2026-01-29T18:30:00.000Z", id="a day, local"),
        pytest.param("2026-01-30 05:30", "2026-01-30T00:00:00.000Z", id="local"),
        pytest.param("2026-01-30T05:30:00Z", "2026-01-30T05:30:00.000Z", id="UTC"),
        pytest.param("2026-01-30T05:30:00+01:00", "2026-01-30T04:30:00.000Z", id="offset"),
    ],
)
def test_a_moment_is_read_in_the_local_zone(text: str, wire: str) -> None:
    assert words.wire_time(words.parse_moment(text, NOON)) == wire


@pytest.mark.parametrize(
    "text",
    [
        *("", "yesterday", "25:00", "2026-13-01", "12345", "99999999999999y"),
        *("9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+01:00"),
    ],
)
def test_what_is_no_moment_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is no time such as"):
        words.parse_moment(text, NOON)


@IN_THE_EAST
@pytest.mark.usefixtures("zone")
def test_times_are_shown_in_the_local_zone() -> None:
    assert words.local_time("2026-01-31T20:00:00.250Z") == "2026-02-01 01:30:00"
    assert words.full_time("2026-01-31T20:00:00.250Z") == "2026-02-01 01:30:00.250 XST"


@IN_THE_WEST
@pytest.mark.usefixtures("zone")
def test_a_time_before_the_first_of_the_local_zone_is_shown_as_it_is() -> None:
    assert words.full_time("0001-01-01T00:00:00.000Z").endswith("-01-01 00:00:00.000 UTC")


@IN_THE_EAST
@pytest.mark.usefixtures("zone")
def test_a_time_after_the_last_of_the_local_zone_is_shown_as_it_is() -> None:
    assert words.full_time("9999-12-31T23:59:59.000Z") == "9999-12-31 23:59:59.000 UTC"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (None, "never"),
        ("2026-01-31T12:00:00.000Z", "now"),
        ("2026-01-31T12:00:05.000Z", "now"),
        ("2026-01-31T11:58:00.000Z", "2 min ago"),
    ],
)
def test_an_age_is_told(text: str | None, shown: str) -> None:
    assert words.ago(text, NOON) == shown
