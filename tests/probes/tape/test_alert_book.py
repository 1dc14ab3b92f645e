"""The book of TapeAlert flags: when one is set and when it is over, and who was told of it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import NOON
from storewatchd.probes.tape.alert_book import (
    EVENTS,
    MAX_ASKERS,
    MAX_OCCURRENCES,
    AlertBook,
    Flags,
    restored,
)
from storewatchd.scsi.logs import TapeAlerts


def page(*flags: int, missing: tuple[int, ...] = ()) -> TapeAlerts:
    return TapeAlerts(frozenset(flags), frozenset(missing))


def asked(flags: Flags, asker: str) -> list[int]:
    """Return the flags that an asker is told, who says that they arrived."""
    told = [one.flag for one in flags.due(asker)]
    flags.tell(asker, flags.last)
    return told


def test_a_flag_that_was_read_is_told_to_everybody_once() -> None:
    flags = Flags()
    flags.see_read(page(4, 20), NOON)
    for asker in ("bareos", "root", EVENTS):
        assert (asked(flags, asker), asked(flags, asker)) == ([4, 20], [])


def test_what_did_not_arrive_is_told_again() -> None:
    flags = Flags()
    flags.see_read(page(4), NOON)
    assert [one.flag for one in flags.due("bareos")] == [4]
    flags.see_read(page(), NOON + 1)
    assert asked(flags, "bareos") == [4]


def test_a_flag_that_comes_and_goes_between_two_asks_is_told_all_the_same() -> None:
    flags = Flags()
    assert asked(flags, "bareos") == []
    flags.see_read(page(4), NOON)
    for minute in range(3):
        flags.see_read(page(), NOON + minute)
    assert flags.active == set()
    assert asked(flags, "bareos") == [4]
    assert asked(flags, "somebody new") == [], "of who never asked only what is set"


def test_a_flag_that_is_read_again_was_set_again() -> None:
    flags = Flags()
    for minute in range(3):
        flags.see_read(page(4), NOON + minute)
        assert asked(flags, "bareos") == [4]
    assert flags.raised[4] == 3


def test_two_reads_without_it_end_a_flag_that_was_read() -> None:
    flags = Flags()
    flags.see_read(page(4), NOON)
    flags.see_read(page(), NOON + 1)
    assert flags.active == {4}
    flags.see_read(page(4), NOON + 2)
    flags.see_read(page(), NOON + 3)
    assert flags.active == {4}, "the two reads are in a row"
    flags.see_read(page(), NOON + 4)
    assert flags.active == set()


def test_a_page_that_leaves_a_flag_out_says_nothing_of_it() -> None:
    flags = Flags()
    flags.see_read(page(4), NOON)
    for minute in range(5):
        flags.see_read(page(missing=(4,)), NOON + minute)
    assert flags.active == {4}


def test_a_good_mount_after_it_ends_a_flag_that_was_read() -> None:
    flags = Flags()
    flags.see_read(page(4), NOON)
    flags.see_good_mount(NOON - 1)
    assert flags.active == {4}
    flags.see_good_mount(NOON + 1)
    assert flags.active == set()


def test_a_good_mount_does_not_end_what_the_drive_shows() -> None:
    flags = Flags()
    flags.see_response(page(4), NOON)
    flags.see_good_mount(NOON + 1)
    assert flags.active == {4}


def test_what_page_12h_shows_is_over_when_it_does_not() -> None:
    flags = Flags()
    flags.see_response(page(), NOON)
    flags.see_response(page(4), NOON + 1)
    flags.see_response(page(), NOON + 2)
    assert (flags.active, flags.raised[4]) == (frozenset(), 1)


def test_one_occurrence_that_both_pages_show_is_one() -> None:
    flags = Flags()
    flags.see_response(page(), NOON)
    flags.see_response(page(4), NOON + 1)
    assert asked(flags, "bareos") == [4]
    flags.see_read(page(4), NOON + 2)
    assert (asked(flags, "bareos"), flags.raised[4]) == ([], 1)
    flags.see_response(page(), NOON + 3)
    assert flags.active == {4}, "it was read, and one look without it is no end"
    flags.see_response(page(), NOON + 4)
    assert flags.active == set()


def test_what_was_set_before_the_first_look_is_no_news_and_told_to_who_asks() -> None:
    flags = Flags()
    flags.see_response(page(4), NOON)
    assert (asked(flags, EVENTS), asked(flags, "bareos"), flags.raised[4]) == ([], [4], 0)
    assert asked(flags, "bareos") == []


def test_nobody_can_be_told_of_what_has_not_happened() -> None:
    flags = Flags()
    flags.tell("bareos", 1000)
    flags.see_read(page(4), NOON)
    assert asked(flags, "bareos") == [4]


def test_occurrences_and_askers_are_bounded_and_events_are_never_forgotten() -> None:
    flags = Flags()
    asked(flags, EVENTS)
    for number in range(2 * MAX_ASKERS):
        asked(flags, f"asker {number}")
    for minute in range(2 * MAX_OCCURRENCES):
        flags.see_read(page(4), NOON + minute)
    assert len(flags.due(EVENTS)) == MAX_OCCURRENCES
    asked(flags, EVENTS)
    assert len(flags.due(f"asker {2 * MAX_ASKERS - 1}")) == MAX_OCCURRENCES
    assert len(flags.due("asker 0")) == 1, "who was forgotten is told what is set"


STEPS = st.lists(
    st.tuples(st.sampled_from(["response", "read", "ask"]), st.frozensets(st.integers(1, 64))),
    max_size=30,
)


@given(steps=STEPS)
def test_whoever_asks_is_told_every_flag_that_any_read_showed(
    steps: list[tuple[str, frozenset[int]]],
) -> None:
    """The law of the broker, over any history and over restarts between all its steps."""
    flags, owed, told = Flags(), set[int](), list[int]()
    asked(flags, "bareos")
    for number, (kind, shown) in enumerate(steps):
        flags = restored(json.loads(json.dumps(flags.to_plain())))
        if kind == "ask":
            told = asked(flags, "bareos")
            assert owed <= set(told)
            owed = set()
        elif kind == "read":
            owed |= shown - flags.active
            flags.see_read(TapeAlerts(shown), NOON + number)
            assert shown <= flags.active
        else:
            is_first = flags.seen_at is None
            owed |= set() if is_first else shown - flags.active
            flags.see_response(TapeAlerts(shown), NOON + number)
            assert shown <= flags.active


def test_a_book_is_the_same_after_a_restart() -> None:
    book = AlertBook()
    book.of("DRV1").see_response(page(20), NOON)
    book.of("DRV1").see_read(page(4), NOON + 1)
    book.of("DRV1").see_read(page(), NOON + 2)
    asked(book.of("DRV1"), "bareos")
    after = AlertBook()
    after.restore(json.loads(json.dumps(book.to_plain())))
    assert after.to_plain() == book.to_plain()
    after.of("DRV1").see_read(page(), NOON + 3)
    assert after.of("DRV1").active == {20}, "the clean read before the restart counts"


@pytest.mark.parametrize(
    "kept",
    [
        *(None, [], {"DRV1": {}}, {"DRV1": 7}, {"DRV1": {**Flags().to_plain(), "last": "x"}}),
        {"DRV1": {**Flags().to_plain(), "set": [[1, 65, 0.0, True, False, 0]]}},
        {"DRV1": {**Flags().to_plain(), "told": [1]}},
    ],
)
def test_what_is_no_book_is_left_out(kept: object) -> None:
    book = AlertBook()
    book.restore(kept)
    assert book.to_plain() == {}


def test_what_page_2eh_told_blames_no_cartridge_and_page_12h_the_one_seen_with_it() -> None:
    flags = Flags(barcode="A00001L8", has_response_page=True)
    flags.see_read(page(4), NOON)
    assert flags.of_this_cartridge == frozenset()
    flags.see_response(page(4), NOON + 1)
    assert flags.of_this_cartridge == {4}
    flags.barcode = ""
    assert flags.of_this_cartridge == frozenset()
