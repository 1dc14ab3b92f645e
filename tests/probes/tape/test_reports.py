"""Inventories by mtx: when it is asked, when it is believed, and what stays unknown."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import NOON, HandClock, ScriptedPort
from probes.fix_probes import assert_keeps_to_its_families, values
from probes.tape.fix_tape import CHANGER_AT, DRIVE, LIBRARY, FakeLibrary, Place, library, ran
from storewatchd.core.frames import Frame, Scope
from storewatchd.errors import ProbeDeferred, ProbeFailed, ReadRefused
from storewatchd.port import Reading
from storewatchd.probes.tape.libraries import (
    CONVINCING_LOOKS,
    MAX_AGE_S,
    ElementStatesProbe,
    InventoriesProbe,
    LibrariesProbe,
)
from storewatchd.probes.tape.reports import BAD_REPORTS, Reports

LABELS = (("library", LIBRARY),)
REFUSED = ran(status=5, stderr="Illegal request\n")
SPOILT = ran(bytes(20))
FULL = library(*(f"T{number}" for number in range(40)), None)


def listing(found: FakeLibrary) -> bytes:
    """Return what mtx 1.3.12 prints of a library."""
    by_kind = {
        kind: sorted((p for p in found.places if p.kind == kind), key=lambda p: p.address)
        for kind in (2, 3, 4)
    }
    slots = [*by_kind[2], *by_kind[3]]
    counts = f"{len(by_kind[4])} Drives, {len(slots)} Slots ( {len(by_kind[3])} Import/Export )"
    lines = [f"  Storage Changer /dev/sg3:{counts}"]
    for number, place in enumerate(by_kind[4]):
        full = f"Full (Storage Element 1 Loaded):VolumeTag = {place.tag}"
        lines.append(f"Data Transfer Element {number}:{'Empty' if place.tag is None else full}")
    for number, place in enumerate(slots, 1):
        mail = " IMPORT/EXPORT" if place.kind == 3 else ""
        full = "Empty" if place.tag is None else f"Full :VolumeTag={place.tag:<32}"
        lines.append(f"      Storage Element {number}{mail}:{full}")
    return "".join(f"{line}\n" for line in lines).encode()


class Lab:
    """One library, and the probes that look at it."""

    def __init__(self, found: FakeLibrary = FULL) -> None:
        self.port = ScriptedPort()
        self.clock = HandClock()
        reports = Reports()
        self.inventories = InventoriesProbe(reports)
        self.states = ElementStatesProbe(reports, self.clock.clock)
        self.libraries = LibrariesProbe(reports, self.clock.clock)
        self.show(found)

    def show(self, found: FakeLibrary, report: Any = None, mtx: Any = None) -> None:
        """Let the library be so; its report or mtx may say otherwise."""
        found.tell(self.port)
        if report is not None:
            self.port.readings["changer.elements", CHANGER_AT] = report
        self.port.readings["changer.mtx", CHANGER_AT] = ran(listing(found)) if mtx is None else mtx

    def look(self, probe: Any = None) -> Frame:
        probe = probe or self.inventories
        frame: Frame = asyncio.run(probe.collect(self.port, Scope(probe.name, LABELS)))
        assert_keeps_to_its_families(probe, frame)
        return frame

    def fail(self, looks: int, words: str) -> None:
        for _ in range(looks):
            with pytest.raises(ProbeFailed, match=words):
                self.look()


def source(frame: Frame) -> tuple[str, ...]:
    ((labels, _),) = values(frame, "library_inventory_info").items()
    return labels


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        pytest.param(REFUSED, "the device refuses the request", id="refused"),
        pytest.param(ran(status=9), "the device does not know this command", id="unknown"),
        pytest.param(SPOILT, "element status, byte 8: expected", id="spoilt"),
    ],
)
def test_a_library_whose_report_is_no_use_is_told_by_mtx(report: Any, reason: str) -> None:
    found = library("A00001L8", None, "CLN001L8")
    found.places.append(Place(DRIVE, 501, "B00001L8"))
    lab = Lab()
    lab.show(found, report)
    frame = lab.look()
    said = source(frame)
    assert said[:2] == (LIBRARY, "mtx")
    assert said[2].startswith(reason)
    assert values(frame, "library_elements") == {
        (LIBRARY, "storage"): 3.0,
        (LIBRARY, "import_export"): 1.0,
        (LIBRARY, "drive"): 2.0,
    }, "mtx lists no robot"
    assert values(frame, "library_elements_full")[LIBRARY, "storage"] == 2.0
    assert values(frame, "library_cleaning_cartridges") == {(LIBRARY,): 1.0}
    assert values(frame, "tape_drive_loaded") == {(LIBRARY, "1", "", "B00001L8"): 1.0}
    (told,) = frame.news
    assert (told.kind, told.facts["source"]) == ("inventory_source", "mtx")
    assert lab.look().news == (), "told once"


def test_what_mtx_does_not_tell_is_not_known() -> None:
    lab = Lab()
    lab.show(FULL, REFUSED)
    lab.look()
    with pytest.raises(ProbeDeferred, match="mtx does not tell"):
        lab.look(lab.states)


def test_what_the_report_told_and_mtx_does_not_cannot_be_seen_any_more() -> None:
    lab = Lab()
    lab.look()
    lab.look(lab.states)
    lab.show(FULL, REFUSED)
    for _ in range(BAD_REPORTS):
        try:
            lab.look()
        except ProbeFailed:
            with pytest.raises(ProbeDeferred, match="its inventory cannot be read"):
                lab.look(lab.states)
    with pytest.raises(ProbeFailed, match="mtx does not tell"):
        lab.look(lab.states)


def test_a_library_that_gave_good_reports_is_not_told_by_mtx_for_one_that_is_none() -> None:
    lab = Lab()
    lab.look()
    lab.show(FULL, SPOILT)
    lab.fail(BAD_REPORTS - 1, "element status")
    lab.show(FULL)
    assert source(lab.look())[1] == "report"


def test_places_keep_their_addresses_while_mtx_tells_of_them() -> None:
    lab = Lab()
    lab.look()
    lab.show(FULL, SPOILT)
    lab.fail(BAD_REPORTS - 1, "element status")
    moved = library(None, *(f"T{number}" for number in range(1, 40)), "T0")
    lab.show(moved, SPOILT)
    told = [one for one in lab.look().news if one.kind == "moved"]
    assert [(one.facts["from"]["element"], one.facts["to"]["element"]) for one in told] == [
        (1000, 1040)
    ]
    lab.show(moved)
    frame = lab.look()
    assert [one.kind for one in frame.news] == ["inventory_source"]
    assert values(frame, "library_moves_total") == {(LIBRARY, "ok"): 1.0}


EMPTY = library(*[None] * 41)


def test_a_spoilt_report_and_an_empty_listing_never_empty_a_library() -> None:
    """mtx reads what is missing of a short transfer as zeros, and exits with 0."""
    lab = Lab()
    lab.look()
    lab.show(EMPTY, SPOILT)
    lab.fail(BAD_REPORTS - 1, "element status")
    lab.fail(
        3 * CONVINCING_LOOKS, "40 of 40 cartridges no more by mtx, and its own report makes no"
    )


def test_a_library_that_only_mtx_tells_of_is_believed_when_it_shows_the_same_for_long() -> None:
    lab = Lab()
    lab.show(FULL, SPOILT)
    lab.look()
    lab.show(EMPTY, SPOILT)
    lab.fail(CONVINCING_LOOKS - 1, "40 of 40 cartridges no more, and has not said")
    assert len(lab.look().news) == 40


def test_a_loss_is_not_believed_against_mtx_however_long_it_is_shown() -> None:
    lab = Lab()
    lab.look()
    lab.show(EMPTY, mtx=ran(listing(FULL)))
    lab.fail(3 * CONVINCING_LOOKS, "mtx still shows 40 of them")
    lab.show(EMPTY)
    assert len(lab.look().news) == 40, "the looks before count"


@pytest.mark.parametrize(
    "mtx",
    [
        ReadRefused("No such program; install it", errno=2),
        ProbeDeferred("bareos-sd holds it"),
        ran(status=1, stderr="READ ELEMENT STATUS Command Failed\n"),
    ],
    ids=["not installed", "held", "failed"],
)
def test_without_a_second_opinion_the_first_decides(mtx: Any) -> None:
    lab = Lab()
    lab.look()
    lab.show(EMPTY, mtx=mtx)
    lab.fail(CONVINCING_LOOKS - 1, "has not said that anybody was at it")
    assert len(lab.look().news) == 40


@pytest.mark.parametrize(
    ("mtx", "words"),
    [
        pytest.param(ReadRefused("install it", errno=2), "refuses.*of mtx: install it", id="none"),
        pytest.param(ran(listing(FULL), status=1), "of mtx: mtx exited with 1", id="status"),
        pytest.param(ran(listing(FULL), stderr="oh\n"), "of mtx: mtx says: oh", id="stderr"),
        pytest.param(ran(listing(FULL)[:-5]), "mtx status, byte", id="cut"),
        pytest.param(
            ran(b"".join(listing(FULL).splitlines(keepends=True)[:-1])),
            "cannot be believed: it announces 42 slots and lists 41",
            id="counts",
        ),
    ],
)
def test_a_listing_that_cannot_be_believed_is_none(mtx: Any, words: str) -> None:
    lab = Lab()
    lab.show(FULL, REFUSED, mtx)
    lab.fail(1, words)


def test_a_library_that_somebody_uses_is_not_asked_by_mtx_either() -> None:
    lab = Lab()
    lab.show(
        FULL,
        REFUSED,
        ran(status=1, stderr="cannot open SCSI device '/dev/sg3' - Device or resource busy\n"),
    )
    with pytest.raises(ProbeDeferred):
        lab.look()


@given(raw=st.binary(max_size=300), report=st.binary(max_size=60))
def test_garbage_from_both_is_a_failure(raw: bytes, report: bytes) -> None:
    lab = Lab()
    lab.show(FULL, ran(report), ran(raw))
    lab.fail(1, "and of mtx")


@given(cut=st.integers(0, 4000), flips=st.lists(st.integers(0, 4000), max_size=3))
def test_a_spoilt_listing_is_a_failure_or_says_what_is_in_it(cut: int, flips: list[int]) -> None:
    whole = bytearray(listing(FULL))
    for place in flips:
        whole[place % len(whole)] ^= 0x10
    lab = Lab()
    lab.show(FULL, REFUSED, ran(bytes(whole[: max(0, len(whole) - cut)])))
    try:
        frame = lab.look()
    except ProbeFailed:
        return
    assert values(frame, "library_elements")[LIBRARY, "storage"] == 41.0


# How many elements it promises.


CHANGED = ran(
    status=6,
    stderr="Fixed format, current; Sense key: Unit Attention\n"
    "Additional sense: Mode parameters changed\n",
)


class Counting(ScriptedPort):
    """Notes which commands a library gets."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOON
        self.commands: list[str] = []
        self.attentions = 0

    async def read(self, row: str, object_id: str = "") -> Reading:
        reading = await super().read(row, object_id)
        if row.startswith("changer."):
            self.commands.append(row.removeprefix("changer."))
            if self.attentions:
                self.attentions -= 1
                reading = replace(reading, value=CHANGED)
        return replace(reading, at=self.now)


def commands(lab: Lab, after_s: float = 30.0) -> list[str]:
    """Look, and return which commands that took."""
    assert isinstance(lab.port, Counting)
    lab.port.now += after_s
    lab.port.commands.clear()
    lab.look()
    return list(lab.port.commands)


def counting() -> Lab:
    """Return a lab whose library was looked at once."""
    lab = Lab()
    lab.port = Counting()
    lab.show(FULL)
    assert commands(lab) == BOTH
    return lab


BOTH = ["addresses", "elements"]


def test_what_a_library_promises_is_asked_once_and_every_few_minutes() -> None:
    lab = counting()
    looks = [commands(lab) for _ in range(20)]
    assert looks.count(BOTH) == 1
    assert looks.count(["elements"]) == 19
    assert commands(lab, -7200.0)[:1] == ["elements"]
    assert commands(lab) == BOTH, "the clock was set back"


@pytest.mark.parametrize("more", [True, False])
def test_another_number_of_elements_is_asked_about_at_once(more: bool) -> None:
    lab = counting()
    lab.show(library(*(f"T{number}" for number in range(41 if more else 39)), None))
    assert commands(lab) == ["elements", *BOTH]
    assert commands(lab) == ["elements"]


def test_after_a_unit_attention_a_library_is_asked_again_what_it_promises() -> None:
    lab = counting()
    assert isinstance(lab.port, Counting)
    lab.port.attentions = 1
    assert commands(lab) == ["elements", "elements", *BOTH]
    assert commands(lab) == BOTH, "it may have changed after the page was asked"
    assert commands(lab) == ["elements"]


@pytest.mark.parametrize("report", [SPOILT, ran(status=3)], ids=["spoilt", "failed"])
def test_after_a_report_that_is_no_use_a_library_is_asked_again_what_it_promises(
    report: Any,
) -> None:
    lab = counting()
    lab.show(FULL, report)
    lab.fail(1, "element|failed|device")
    lab.show(FULL)
    assert commands(lab) == BOTH


def test_a_report_that_lost_elements_is_not_believed_by_a_promise_of_before() -> None:
    lab = counting()
    lab.show(FULL, ran(library("A").report()))
    lab.fail(1, "41 storage elements, found 1")


# What is known of it without a command.


def test_the_age_of_an_inventory_is_told_while_the_library_is_busy() -> None:
    lab = Lab()
    assert values(lab.look(lab.libraries), "library_up") == {(LIBRARY,): 1.0}
    assert "library_inventory_age_seconds" not in lab.look(lab.libraries).rows
    lab.look()
    lab.port.readings["changer.elements", CHANGER_AT] = ProbeDeferred("bareos-sd holds it")
    lab.clock.forward(500)
    with pytest.raises(ProbeDeferred):
        lab.look()
    frame = lab.look(lab.libraries)
    age_s = lab.clock.wall() - NOON
    assert values(frame, "library_inventory_age_seconds") == {(LIBRARY,): age_s}
    assert lab.look(lab.states).rows["library_drive_bay"]
    lab.clock.forward(MAX_AGE_S)
    with pytest.raises(ProbeDeferred, match="for a day"):
        lab.look(lab.states)


def test_reservations_by_others_are_counted() -> None:
    lab = Lab()
    lab.port.readings["changer.addresses", CHANGER_AT] = ran(status=24)
    for _ in range(2):
        with pytest.raises(ProbeDeferred):
            lab.look()
    frame = lab.look(lab.libraries)
    assert values(frame, "library_reservation_conflict_total") == {(LIBRARY,): 2.0}


def test_that_a_library_is_gone_is_told_by_others() -> None:
    lab = Lab()
    lab.look()
    lab.port.readings["sys.scsi", ""] = {}
    with pytest.raises(ProbeDeferred, match="is not connected"):
        lab.look(lab.states)


def test_before_the_first_inventory_nothing_is_known_of_its_places() -> None:
    lab = Lab()
    with pytest.raises(ProbeDeferred, match="not read yet"):
        lab.look(lab.states)
