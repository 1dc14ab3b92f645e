"""Tests for the inventory: what looks say of objects, and what becomes of them by that."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storewatchd.core import inventory as module
from storewatchd.core.frames import Found, Frame, ObjectKind, Outcome, Scope
from storewatchd.core.inventory import MAX_TEXT, Inventory, Taken
from storewatchd.core.model import EventType
from storewatchd.core.objects import MAX_TOLD, Change, Object, ObjectChange, events_of
from storewatchd.errors import Conflict, NotFound

DRIVE, LIBRARY, CARTRIDGE = (
    ObjectKind.TAPE_DRIVE,
    ObjectKind.TAPE_LIBRARY,
    ObjectKind.CARTRIDGE,
)
KERNEL = Scope("tape_drives", (("drive", "D1"),))
ROBOT = Scope("library_inventories", (("library", "L1"),))


def drive(name: str = "D1", **facts: str) -> Found:
    return Found(DRIVE, name, facts)


def tape(label: str, **facts: str) -> Found:
    return Found(CARTRIDGE, label, facts)


class Desk:
    """An inventory that is told of looks, one second after the other."""

    def __init__(self) -> None:
        self.book = Inventory()
        self.at = 1000.0

    def see(
        self, *found: Found, scope: Scope = KERNEL, outcome: Outcome = Outcome.SEEN
    ) -> list[tuple[str, str]]:
        """Tell what a look found; return what became of which object."""
        return kinds(self.seen(*found, scope=scope, outcome=outcome))

    def seen(
        self, *found: Found, scope: Scope = KERNEL, outcome: Outcome = Outcome.SEEN
    ) -> list[Change]:
        self.at += 1
        self.book.take(Frame(scope, self.at, outcome, objects=found))
        return self.changes()

    def expect(self, probe: str, *scopes: Scope) -> list[tuple[str, str]]:
        self.at += 1
        self.book.expect(probe, scopes, self.at)
        return kinds(self.changes())

    def changes(self) -> list[Change]:
        changes: list[Change] = []
        while self.book.is_waiting:
            changes += self.book.step().changes
        return changes

    def get(self, name: str = "D1", kind: ObjectKind = DRIVE) -> Object:
        one = self.book.get(kind, name)
        assert one is not None
        return one


def kinds(changes: list[Change]) -> list[tuple[str, str]]:
    return [(change.object.id, change.kind.value) for change in changes]


@pytest.fixture
def desk() -> Desk:
    return Desk()


# What is found, and what is gone.


def test_what_is_found_is_here_from_then_on(desk: Desk) -> None:
    assert desk.see(drive(sg="sg3")) == [("D1", "found")]
    assert len(desk.book) == 1
    assert desk.get() == Object(
        DRIVE, "D1", 1, 1001.0, 1001.0, {"sg": "sg3"}, {str(KERNEL): {"sg": "sg3"}}
    )
    assert [*desk.book] == [desk.get()]


def test_the_same_again_changes_nothing(desk: Desk) -> None:
    desk.see(drive(sg="sg3"))
    before = desk.get()
    assert desk.see(drive(sg="sg3")) == []
    assert desk.see(drive(sg="sg3"), scope=ROBOT) == []
    assert (desk.get().version, desk.get().since) == (before.version, before.since)
    assert desk.get().sources.keys() == {str(KERNEL), str(ROBOT)}


def test_what_is_not_named_any_more_is_gone_with_the_last_who_saw_it(desk: Desk) -> None:
    desk.see(drive(sg="sg3", model="M"))
    desk.see(drive(bay="1"), scope=ROBOT)
    assert desk.see() == [("D1", "disconnected")]
    assert desk.see(drive(sg="sg4", model="M")) == [("D1", "connected")]
    assert desk.see() == [("D1", "disconnected")]
    assert desk.see(scope=ROBOT) == [("D1", "gone")]
    assert not desk.get().is_here
    assert desk.get().facts == {"bay": "1", "model": "M"}
    assert desk.get().since == 1006.0


def test_what_is_surely_absent_is_gone_and_comes_back(desk: Desk) -> None:
    desk.see(drive(sg="sg3"))
    assert desk.see(outcome=Outcome.ABSENT) == [("D1", "gone")]
    assert desk.see(drive(sg="sg3")) == [("D1", "back")]
    assert desk.get().first_seen == 1001.0


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.DEFERRED])
def test_a_look_that_did_not_see_says_nothing(desk: Desk, outcome: Outcome) -> None:
    desk.see(drive(sg="sg3"))
    assert desk.see(outcome=outcome) == []
    assert desk.get().is_here


def test_a_scope_that_is_there_no_more_takes_its_objects_along(desk: Desk) -> None:
    desk.see(drive())
    desk.see(drive("D2"), scope=ROBOT)
    assert desk.expect("tape_drives") == [("D1", "gone")]
    assert desk.expect("library_inventories", ROBOT) == []
    assert desk.see(drive()) == [("D1", "back")]


def test_what_was_said_and_not_gone_through_yet_is_over_with_its_scope(desk: Desk) -> None:
    desk.book.take(Frame(KERNEL, 1.0, objects=(drive(),)))
    desk.book.expect("tape_drives", (), 2.0)
    assert desk.changes() == []
    assert len(desk.book) == 0


def test_the_first_of_two_with_one_label_counts(desk: Desk) -> None:
    assert desk.see(tape("A1", element="1"), tape("A1", element="2")) == [("A1", "found")]
    assert desk.get("A1", CARTRIDGE).facts == {"element": "1"}


# What differs.


def test_another_name_of_the_kernels_is_another_name_only(desk: Desk) -> None:
    desk.see(drive(sg="sg3", address="4:0:0:0", firmware="A"))
    (change,) = desk.seen(drive(sg="sg5", address="5:0:0:0", firmware="A"))
    assert change.kind is ObjectChange.RENAMED
    assert change.differs == {"sg": ("sg3", "sg5"), "address": ("4:0:0:0", "5:0:0:0")}
    assert change.to_json() == {
        "kind": "tape_drive",
        "id": "D1",
        "facts": {"sg": "sg5", "address": "5:0:0:0", "firmware": "A"},
        "from": {"address": "4:0:0:0", "sg": "sg3"},
        "to": {"address": "5:0:0:0", "sg": "sg5"},
    }


def test_firmware_is_neither_a_name_nor_a_place(desk: Desk) -> None:
    desk.see(drive(sg="sg3", firmware="A"))
    assert desk.see(drive(sg="sg5", firmware="B")) == [("D1", "changed")]


def test_a_drive_in_another_bay_has_moved(desk: Desk) -> None:
    desk.see(drive(library="L1", bay="0"))
    assert desk.see(drive(library="L1", bay="1")) == [("D1", "moved")]


def test_a_drive_where_another_one_was_has_taken_its_place(desk: Desk) -> None:
    desk.see(drive("D1", library="L1", bay="0"), scope=ROBOT)
    desk.see(scope=ROBOT)
    (change,) = desk.seen(drive("D2", library="L1", bay="0"), scope=ROBOT)
    assert (change.kind, change.object.id, change.other) == (ObjectChange.SWAPPED, "D2", "D1")
    assert change.to_json()["other"] == "D1"


def test_two_drives_that_change_places_have_both_swapped(desk: Desk) -> None:
    desk.see(drive("D1", library="L1", bay="0"), drive("D2", library="L1", bay="1"))
    changed = desk.see(drive("D1", library="L1", bay="1"), drive("D2", library="L1", bay="0"))
    assert changed == [("D1", "swapped"), ("D2", "swapped")]


def test_a_place_that_is_not_known_wholly_is_none(desk: Desk) -> None:
    desk.see(drive("D1", bay="0"))
    assert desk.see(drive("D1", bay="0"), drive("D2", bay="0")) == [("D2", "found")]


def test_a_drive_that_is_found_again_where_it_was_is_back(desk: Desk) -> None:
    desk.see(drive(library="L1", bay="0"))
    desk.see()
    assert desk.see(drive(library="L1", bay="0")) == [("D1", "back")]


# What is learned of an object, wherever it is.


def learned(label: str, **facts: str) -> Found:
    return Found(CARTRIDGE, label, facts, is_here=False)


def test_what_is_learned_stays_and_says_nothing_of_where(desk: Desk) -> None:
    desk.see(tape("A1", element="7"), scope=ROBOT)
    assert desk.see(learned("A1", serial="S1")) == [("A1", "changed")]
    assert desk.see() == []
    assert desk.get("A1", CARTRIDGE).facts == {"element": "7", "serial": "S1"}
    assert desk.see(scope=ROBOT) == [("A1", "gone")]
    assert desk.see(learned("A1", serial="S1", made="2020")) == [("A1", "changed")]
    assert not desk.get("A1", CARTRIDGE).is_here
    assert desk.get("A1", CARTRIDGE).facts == {"element": "7", "serial": "S1", "made": "2020"}


def test_what_is_learned_of_an_unknown_object_is_kept_for_when_it_comes(desk: Desk) -> None:
    assert desk.see(learned("A1", serial="S1")) == [("A1", "found")]
    assert not desk.get("A1", CARTRIDGE).is_here
    assert desk.see(tape("A1", element="7"), scope=ROBOT) == [("A1", "back")]


def test_a_cartridge_with_another_bar_code_is_relabelled(desk: Desk) -> None:
    desk.see(tape("A1", element="7"), scope=ROBOT)
    desk.see(learned("A1", serial="S1"))
    desk.see(tape("B1", element="7"), scope=ROBOT)
    (change,) = desk.seen(learned("B1", serial="S1"))
    assert (change.kind, change.object.id, change.other) == (ObjectChange.RELABELLED, "B1", "A1")


def test_another_cartridge_under_the_same_bar_code_is_told(desk: Desk) -> None:
    desk.see(learned("A1", serial="S1"))
    assert desk.see(learned("A1", serial="S2")) == [("A1", "replaced")]


def test_a_number_that_two_have_at_once_is_told(desk: Desk) -> None:
    desk.see(tape("A1"), tape("B1"), scope=ROBOT)
    desk.see(learned("A1", serial="S1"))
    (change,) = desk.seen(learned("B1", serial="S1"))
    assert (change.kind, change.other) == (ObjectChange.SHARED, "A1")
    assert desk.see(learned("B1", serial="S1"), learned("B1", made="x")) == [("B1", "changed")]


def test_a_number_that_another_one_had_once_is_not_shared(desk: Desk) -> None:
    desk.see(tape("A1"), tape("B1"), scope=ROBOT)
    desk.see(learned("A1", serial="S1"))
    desk.see(learned("A1", serial="S2"))
    (change,) = desk.seen(learned("B1", serial="S1"))
    assert (change.kind, change.other) == (ObjectChange.RELABELLED, "A1")


# What a person says.


def forget(desk: Desk, name: str = "D1", *seen: Scope, unseen: bool = False) -> Taken:
    known = {str(scope) for scope in seen}
    return desk.book.forget(DRIVE, name, desk.at + 1, known.__contains__, unseen=unseen)


def test_what_is_gone_is_forgotten(desk: Desk) -> None:
    desk.see(drive())
    desk.see()
    taken = forget(desk, "D1", KERNEL)
    assert kinds([*taken.changes]) == [("D1", "forgotten")]
    assert taken.dropped == ((DRIVE, "D1"),)
    assert (taken.changes[0].object.version, taken.changes[0].object.since) == (3, 1003.0)
    assert desk.book.get(DRIVE, "D1") is None


def test_what_nobody_can_look_at_is_forgotten_and_found_anew(desk: Desk) -> None:
    desk.see(drive())
    with pytest.raises(Conflict, match="nobody can look for the tape_drive 'D1' now, tape_drives"):
        forget(desk)
    forget(desk, unseen=True)
    assert desk.see(drive()) == [("D1", "found")]
    desk.see(drive("D1"), scope=ROBOT)
    forget(desk, unseen=True)
    assert desk.expect("library_inventories") == []


def test_what_is_here_is_not_forgotten(desk: Desk) -> None:
    desk.see(drive())
    with pytest.raises(Conflict, match=r"tape_drive 'D1' is here, tape_drives\{drive='D1'\} sees"):
        forget(desk, "D1", KERNEL)
    assert desk.get().is_here


def test_what_never_was_is_not_forgotten(desk: Desk) -> None:
    with pytest.raises(NotFound, match="there is no tape_drive 'D9'"):
        forget(desk, "D9")


def test_what_is_forgotten_while_a_look_is_gone_through_stays_so(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STEP", 1)
    desk.see(drive("D1"), drive("D2"), drive("D3"))
    desk.book.take(Frame(KERNEL, 5000.0))
    desk.book.step()
    desk.book.forget(DRIVE, "D3", 5001.0, lambda _: False, unseen=True)
    assert kinds(desk.changes()) == [("D2", "gone")]


# Bounds.


def test_a_large_look_is_gone_through_in_steps(desk: Desk) -> None:
    found = tuple(tape(f"A{number}") for number in range(module.STEP // 10 + 1))
    desk.book.take(Frame(ROBOT, 1.0, objects=found))
    assert len(desk.book.step().changes) == module.STEP // 10
    assert desk.book.is_waiting
    assert len(desk.book.step().changes) == 1
    assert not desk.book.is_waiting


def test_a_later_look_takes_the_place_of_one_that_waits(desk: Desk) -> None:
    desk.book.take(Frame(KERNEL, 1.0, objects=(drive(sg="sg1"),)))
    desk.book.take(Frame(KERNEL, 2.0, objects=(drive(sg="sg2"),)))
    assert [change.object.facts for change in desk.changes()] == [{"sg": "sg2"}]


def test_those_that_went_first_are_left_to_the_store(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_GONE", 2)
    desk.see(*(learned(f"A{number}", serial=f"S{number}") for number in range(2)))
    desk.book.take(Frame(KERNEL, 9.0, objects=(learned("A9"),)))
    taken = desk.book.step()
    assert taken.dropped == ((CARTRIDGE, "A0"),)
    assert taken.touched.keys() == {(CARTRIDGE, "A9")}
    # Whose number it was is forgotten with it.
    assert desk.see(learned("B0", serial="S0")) == [("B0", "found")]


def test_very_many_that_were_taken_back_are_dropped_in_steps(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_GONE", 2)
    monkeypatch.setattr(module, "STEP", 20)
    lost = [Object(DRIVE, f"D{number}", 1, 0.0, float(number), {}) for number in range(7)]
    desk.book.take_back(lost)
    dropped = []
    while desk.book.is_waiting:
        dropped.append([name for _, name in desk.book.step().dropped])
    assert dropped == [["D0", "D1"], ["D2", "D3"], ["D4"]]


def test_what_is_here_comes_before_what_is_gone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_OBJECTS", 2)
    desk.see(learned("A1"), learned("A2"))
    assert desk.see(drive("D1"), drive("D2"), drive("D3")) == [("D1", "found"), ("D2", "found")]
    assert {one.id for one in desk.book} == {"D1", "D2"}
    assert desk.book.refused_total == 1


def test_one_that_comes_back_while_others_are_dropped_is_kept(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_OBJECTS", 1)
    desk.see(learned("A1"))
    desk.book.take(Frame(KERNEL, 9.0, objects=(learned("A2"), learned("A1", made="x"))))
    taken = desk.book.step()
    assert taken.dropped == ((CARTRIDGE, "A2"),)
    assert taken.touched.keys() == {(CARTRIDGE, "A1")}


@pytest.mark.parametrize("name", ["", "a\0b", "x" * (MAX_TEXT + 1)])
def test_what_can_be_no_id_is_refused(desk: Desk, name: str) -> None:
    assert desk.see(drive(name)) == []
    assert desk.book.refused_total == 1


def test_facts_are_what_the_store_can_hold(desk: Desk) -> None:
    desk.see(drive(firmware="a\0b", sg="x" * 1000))
    assert desk.get().facts == {"firmware": "ab", "sg": "x" * MAX_TEXT}


# Over a restart.


def after_a_restart(book: Inventory) -> Inventory:
    states = [msgspec.json.decode(msgspec.json.encode(one.to_state())) for one in book]
    fresh = Inventory()
    fresh.restore(map(Object.from_state, reversed(states)))
    return fresh


def test_after_a_restart_all_goes_on(desk: Desk) -> None:
    desk.see(drive("D1", library="L1", bay="0"), drive("D2", library="L1", bay="1"), scope=ROBOT)
    desk.see(learned("A1", serial="S1"))
    desk.see(drive("D2", library="L1", bay="1"), scope=ROBOT)
    before = {one.key: one for one in desk.book}
    desk.book = after_a_restart(desk.book)
    assert {one.key: one for one in desk.book} == before
    assert desk.see(drive("D2", library="L1", bay="1"), scope=ROBOT) == []
    assert desk.see(drive("D2", library="L1", bay="0"), scope=ROBOT) == [("D2", "swapped")]
    assert desk.see(learned("B1", serial="S1")) == [("B1", "relabelled")]
    assert desk.see(scope=ROBOT) == [("D2", "gone")]


def test_what_was_lost_is_taken_back_unless_it_is_known(desk: Desk) -> None:
    desk.see(drive("D1"))
    known = desk.get()
    lost = Object(DRIVE, "D2", 4, 1.0, 2.0, {"sg": "sg9"})
    taken = desk.book.take_back([lost, Object(DRIVE, "D1", 9, 1.0, 2.0, {})])
    assert taken == Taken(touched={(DRIVE, "D2"): lost})
    assert desk.get() == known
    assert desk.see(drive("D1"), drive("D2", sg="sg9")) == [("D2", "back")]


def test_what_is_taken_back_is_gone_with_the_next_look_that_does_not_see_it(desk: Desk) -> None:
    desk.see(drive("D1"))
    lost = [*desk.book]
    desk.book = Inventory()
    desk.see(drive("D2"))
    desk.book.take_back(lost)
    assert desk.see(drive("D2")) == [("D1", "gone")]


def test_what_is_taken_back_takes_no_place_and_no_number(desk: Desk) -> None:
    desk.see(drive("D1", library="L1", bay="0"), tape("A1", serial="S1"))
    lost = [*desk.book]
    desk.book = Inventory()
    here = drive("D2", library="L1", bay="0"), tape("B1", serial="S1")
    desk.see(*here)
    desk.book.take_back(lost)
    desk.see(*here)
    desk.see()
    assert desk.see(here[0]) == [("D2", "back")]
    (change,) = desk.seen(here[0], tape("C1", serial="S1"))
    assert (change.kind, change.other) == (ObjectChange.RELABELLED, "B1")


def test_nothing_stays_of_what_is_forgotten_or_has_no_scope_any_more(desk: Desk) -> None:
    desk.see(drive(library="L1", bay="0"))
    desk.expect("tape_drives", ROBOT)
    forget(desk)
    assert desk.see(drive("D2", library="L1", bay="0"), scope=ROBOT) == [("D2", "found")]
    desk.see(scope=ROBOT)
    desk.expect("library_inventories")
    assert not desk.book._last


# What is told.


def test_what_the_library_tells_itself_is_not_told_twice(desk: Desk) -> None:
    changes = desk.seen(tape("A1", element="1"), scope=ROBOT)
    assert [*events_of(changes)] == []
    changes = desk.seen(learned("A1", serial="S1")) + desk.seen(learned("A1", serial="S2"))
    ((event, kind, data),) = events_of(changes)
    assert (event, kind, data["id"]) == (EventType.TAPE, "object_replaced", "A1")


def test_what_is_virtual_is_told_as_such(desk: Desk) -> None:
    told = events_of(desk.seen(drive(virtual="true"), Found(ObjectKind.DISK, "W1")))
    assert [event for event, _, _ in told] == [EventType.VTL, EventType.STORAGE]


def test_many_at_once_are_told_together(desk: Desk) -> None:
    few = [drive(f"D{number}") for number in range(MAX_TOLD)]
    assert len([*events_of(desk.seen(*few))]) == MAX_TOLD
    many = [drive(f"E{number}") for number in range(MAX_TOLD)]
    library = Found(LIBRARY, "L1")
    told = [*events_of(desk.seen(*few, *many, library))]
    assert told == [
        (
            EventType.TAPE,
            "objects_found",
            {"count": MAX_TOLD + 1, "kinds": {"tape_drive": MAX_TOLD, "tape_library": 1}},
        )
    ]


def test_an_object_has_the_wires_shape(desk: Desk) -> None:
    desk.see(drive(sg="sg3"))
    assert desk.get().to_json(until=2000.0) == {
        "kind": "tape_drive",
        "id": "D1",
        "facts": {"sg": "sg3"},
        "seen_by": ["tape_drives{drive='D1'}"],
        "first_seen": "1970-01-01T00:16:41.000Z",
        "since": "1970-01-01T00:16:41.000Z",
        "until": "1970-01-01T00:33:20.000Z",
        "version": 1,
    }


# Any order of looks.

_SCOPES = [KERNEL, ROBOT, Scope("scst")]
_LOOKS = st.tuples(
    st.sampled_from(_SCOPES),
    st.sampled_from([Outcome.SEEN, Outcome.SEEN, Outcome.ABSENT, Outcome.FAILED]),
    st.dictionaries(
        st.sampled_from(["D1", "D2", "D3"]),
        st.dictionaries(st.sampled_from(["sg", "bay"]), st.sampled_from(["1", "2"])),
    ),
)


@given(st.lists(_LOOKS, max_size=12), st.integers(0, 12))
def test_what_is_here_is_what_the_last_looks_say(
    looks: list[tuple[Scope, Outcome, dict[str, dict[str, str]]]], restart_at: int
) -> None:
    desk, said = Desk(), {}
    for number, (scope, outcome, found) in enumerate(looks):
        if number == restart_at:
            desk.book = after_a_restart(desk.book)
        desk.see(
            *(drive(name, **facts) for name, facts in found.items()), scope=scope, outcome=outcome
        )
        if outcome is not Outcome.FAILED:
            said[str(scope)] = found if outcome is Outcome.SEEN else {}
    for one in desk.book:
        sources = {scope: found[one.id] for scope, found in said.items() if one.id in found}
        assert one.sources == sources
        if sources:
            merged: dict[str, str] = {}
            for source in sorted(sources):
                merged |= sources[source]
            assert one.facts == merged
    named = {name for found in said.values() for name in found}
    assert named <= {one.id for one in desk.book}
