"""Libraries: found by serial number, and what is in them, which is not believed too soon."""

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import HandClock, ScriptedPort
from probes.fix_probes import assert_keeps_to_its_families, values
from probes.tape.fix_tape import (
    CHANGER_AT,
    DRIVE,
    LIBRARY,
    MAIL,
    FakeLibrary,
    Place,
    device,
    library,
    ran,
)
from storewatchd.core.frames import Frame, Scope
from storewatchd.errors import ProbeAbsent, ProbeDeferred, ProbeFailed, ReadRefused
from storewatchd.probes.base import Patient
from storewatchd.probes.tape.asking import MAX_HEARD
from storewatchd.probes.tape.libraries import (
    CONVINCING_LOOKS,
    ElementStatesProbe,
    InventoriesProbe,
    LibrariesProbe,
)
from storewatchd.probes.tape.reports import Reports

SCOPE = Scope("library_inventories", (("library", LIBRARY),))


Probe = InventoriesProbe | LibrariesProbe | ElementStatesProbe


def inventories() -> InventoriesProbe:
    return InventoriesProbe(Reports())


def libraries() -> LibrariesProbe:
    return LibrariesProbe(Reports(), HandClock().clock)


def look(probe: Probe, port: ScriptedPort) -> Frame:
    scope = Scope(probe.name, SCOPE.labels)
    frame = asyncio.run(probe.collect(port, scope))
    assert_keeps_to_its_families(probe, frame)
    return frame


def inventory_of(found: FakeLibrary) -> Frame:
    port = ScriptedPort()
    found.tell(port)
    return look(inventories(), port)


def states_of(found: FakeLibrary) -> Frame:
    port, reports = ScriptedPort(), Reports()
    found.tell(port)
    look(InventoriesProbe(reports), port)
    return look(ElementStatesProbe(reports, HandClock().clock), port)


# There or not.


def test_a_library_is_found_by_its_serial_number() -> None:
    port = ScriptedPort()
    library("A").tell(port, DRV0001="st0")
    for probe in (libraries(), inventories()):
        scopes = asyncio.run(probe.discover(port))
        assert scopes == (Scope(probe.name, (("library", LIBRARY),)),)
    frame = look(libraries(), port)
    assert values(frame, "library_up") == {(LIBRARY,): 1.0}
    assert values(frame, "library_info") == {
        (LIBRARY, "ACME", "Tape 9", "1.00", "sg3", CHANGER_AT, "running"): 1.0
    }


def test_a_library_that_the_kernel_took_offline_is_down() -> None:
    port = ScriptedPort()
    tree = device(CHANGER_AT, 8, LIBRARY, "sg3")
    tree[f"scsi_device/{CHANGER_AT}/device/state"] = b"offline\n"
    port.readings["sys.scsi", ""] = tree
    assert values(look(libraries(), port), "library_up") == {(LIBRARY,): 0.0}


def test_a_machine_without_libraries_has_no_scopes() -> None:
    port = ScriptedPort()
    port.readings["sys.scsi", ""] = {}
    for probe in (libraries(), inventories()):
        assert asyncio.run(probe.discover(port)) == ()


def test_a_library_that_is_gone_is_down_and_its_inventory_cannot_be_seen() -> None:
    port = ScriptedPort()
    for probe in (libraries(), inventories()):
        library("A").tell(port)
        scopes = asyncio.run(probe.discover(port))
        port.readings["sys.scsi", ""] = {}
        assert asyncio.run(probe.discover(port)) == scopes
        if isinstance(probe, LibrariesProbe):
            assert values(look(probe, port), "library_up") == {(LIBRARY,): 0.0}
            continue
        with pytest.raises(ProbeAbsent, match=f"{LIBRARY} is not connected"):
            look(probe, port)


def test_a_serial_number_that_sysfs_does_not_have_is_asked_once() -> None:
    port = ScriptedPort()
    library("A", serial=None).tell(port)
    probe = libraries()
    assert asyncio.run(probe.discover(port)) == ()  # it hangs: who it is, nobody knows yet
    port.readings["scsi.serial", CHANGER_AT] = ran(bytes((8, 0x80, 0, 7)) + LIBRARY.encode())
    assert asyncio.run(probe.discover(port)) == (Scope("libraries", SCOPE.labels),)
    del port.readings["scsi.serial", CHANGER_AT]
    assert asyncio.run(probe.discover(port)) == (Scope("libraries", SCOPE.labels),)


def test_a_library_without_a_serial_number_is_where_it_is() -> None:
    port = ScriptedPort()
    library("A", serial="").tell(port)
    (scope,) = asyncio.run(libraries().discover(port))
    assert scope.labels == (("library", f"ACME Tape 9 at {CHANGER_AT}"),)


# The inventory.


def test_elements_are_counted_by_type() -> None:
    found = library("A00001L8", None, "", "CLN001L8")
    frame = inventory_of(found)
    assert values(frame, "library_elements") == {
        (LIBRARY, "robot"): 1.0,
        (LIBRARY, "storage"): 4.0,
        (LIBRARY, "import_export"): 1.0,
        (LIBRARY, "drive"): 1.0,
    }
    assert values(frame, "library_elements_full")[LIBRARY, "storage"] == 3.0
    assert values(frame, "library_slot_unreadable_barcodes") == {(LIBRARY,): 1.0}
    assert values(frame, "library_cleaning_cartridges") == {(LIBRARY,): 1.0}
    assert values(frame, "library_duplicate_barcodes") == {(LIBRARY,): 0.0}
    assert values(frame, "library_import_export_full") == {(LIBRARY,): 0.0}


def test_the_same_bar_code_twice_is_named() -> None:
    frame = inventory_of(library("A", "A", "B", "A"))
    assert values(frame, "library_duplicate_barcodes") == {(LIBRARY,): 1.0}
    assert values(frame, "library_duplicate_barcode") == {(LIBRARY, "A"): 3.0}


def test_an_exception_and_what_is_out_of_reach_are_told() -> None:
    found = library("A")
    found.places.append(Place(MAIL, 11, "X", code=(0x83, 0x02), is_accessible=False))
    frame = states_of(found)
    assert values(frame, "library_elements_abnormal")[LIBRARY, "import_export"] == 1.0
    assert values(frame, "library_elements_inaccessible")[LIBRARY, "import_export"] == 1.0
    ((labels, value),) = values(frame, "library_element_exception").items()
    assert (labels[:4], value) == ((LIBRARY, "import_export", "11", "83/02"), 1.0)


def test_a_loaded_drive_that_says_so_is_not_out_of_reach() -> None:
    found = library("A")
    found.places += [
        Place(DRIVE, 501, "B", is_accessible=False, drive="DRV0002"),
        Place(DRIVE, 502, None, is_accessible=False, drive="DRV0003"),
    ]
    frame = states_of(found)
    assert values(frame, "library_elements_inaccessible")[LIBRARY, "drive"] == 1.0
    assert values(frame, "library_element_access") == {
        (LIBRARY, "drive", "500"): 1.0,
        (LIBRARY, "drive", "501"): 1.0,
        (LIBRARY, "drive", "502"): 0.0,
    }


def test_a_loaded_drive_is_told_with_its_cartridge() -> None:
    found = library("A")
    found.places += [Place(DRIVE, 501, "B", drive="DRV0002")]
    assert values(states_of(found), "library_drive_bay") == {
        (LIBRARY, "0", "500", "DRV0001"): 1.0,
        (LIBRARY, "1", "501", "DRV0002"): 1.0,
    }
    assert values(inventory_of(found), "tape_drive_loaded") == {(LIBRARY, "1", "DRV0002", "B"): 1.0}


def test_a_library_with_thousands_of_slots_is_read_by_the_large_row() -> None:
    port = ScriptedPort()
    library(*(f"T{number:05}" for number in range(2000))).tell(port)
    del port.readings["changer.elements", CHANGER_AT]
    frame = look(inventories(), port)
    assert values(frame, "library_elements_full")[LIBRARY, "storage"] == 2000.0


# What is not believed.


FULL = library(*(f"T{number}" for number in range(40)))


def watching(port: ScriptedPort) -> InventoriesProbe:
    """Return a probe that has seen a full library."""
    probe = inventories()
    FULL.tell(port)
    look(probe, port)
    return probe


@pytest.mark.parametrize(
    "shown",
    [
        pytest.param(library(*[None] * 40), id="empty"),
        pytest.param(library(*[""] * 40), id="without bar codes"),
        pytest.param(library(*[f"T{n}" if n < 10 else None for n in range(40)]), id="most gone"),
    ],
)
def test_a_library_that_shows_much_less_is_not_believed_at_once(shown: FakeLibrary) -> None:
    port = ScriptedPort()
    probe = watching(port)
    shown.tell(port)
    for _ in range(CONVINCING_LOOKS - 1):
        with pytest.raises(ProbeFailed, match="of 40 cartridges no more"):
            look(probe, port)
    FULL.tell(port)
    assert look(probe, port).news == ()


def test_a_library_that_shows_much_less_for_long_is_believed() -> None:
    port = ScriptedPort()
    probe = watching(port)
    library(*[None] * 40).tell(port)
    for _ in range(CONVINCING_LOOKS - 1):
        with pytest.raises(ProbeFailed):
            look(probe, port)
    frame = look(probe, port)
    assert values(frame, "library_elements_full")[LIBRARY, "storage"] == 0.0
    assert len(frame.news) == 40


def test_a_library_that_shows_much_less_after_a_restart_is_not_believed_either() -> None:
    port = ScriptedPort()
    kept = msgspec.msgpack.decode(msgspec.msgpack.encode(watching(port).to_plain()))
    probe = inventories()
    probe.restore(kept)
    library(*[None] * 40).tell(port)
    with pytest.raises(ProbeFailed, match="it shows 40 of 40 cartridges no more"):
        look(probe, port)
    FULL.tell(port)
    assert look(probe, port).news == ()


@pytest.mark.parametrize(
    "kept", [None, {"tags": 7}, {"tags": {LIBRARY: 7}}, {"tags": {LIBRARY: [1, None]}}]
)
def test_of_a_memory_that_is_none_nothing_is_believed(kept: object) -> None:
    probe = inventories()
    probe.restore(kept)
    assert probe.to_plain() == inventories().to_plain()


def test_a_library_that_flickers_is_never_believed() -> None:
    port = ScriptedPort()
    probe = watching(port)
    for number in range(3 * CONVINCING_LOOKS):
        library("T1" if number % 2 else "T2", *[None] * 39).tell(port)
        with pytest.raises(ProbeFailed):
            look(probe, port)


def test_a_library_that_was_opened_is_believed() -> None:
    port = ScriptedPort()
    probe = watching(port)
    port.readings["changer.elements", CHANGER_AT] = ran(
        status=6,
        stderr="Fixed format, current; Sense key: Unit Attention\n"
        "Additional sense: Import or export element accessed\n",
    )
    with pytest.raises(ProbeFailed):
        look(probe, port)
    library(*[None] * 40).tell(port)
    frame = look(probe, port)
    assert {one.kind for one in frame.news} == {"unit_attention", "cartridge_removed"}


def test_a_magazine_of_few_is_believed() -> None:
    port = ScriptedPort()
    probe = watching(port)
    library(*[f"T{n}" if n > 7 else None for n in range(40)]).tell(port)
    assert len(look(probe, port).news) == 8


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        pytest.param(ran(status=24), ProbeDeferred, "reserved", id="reserved elsewhere"),
        pytest.param(ran(status=26), ProbeDeferred, "busy", id="busy"),
        pytest.param(ran(status=2), ProbeFailed, "not ready", id="not ready"),
        pytest.param(
            ran(stderr="transport: Host_status=0x03 [DID_TIME_OUT]\n"),
            ProbeFailed,
            "DID_TIME_OUT",
            id="exit status 0 and no answer",
        ),
        pytest.param(ran(b""), ProbeFailed, "expected", id="nothing"),
        pytest.param(ProbeDeferred("bareos-sd holds it"), ProbeDeferred, "bareos", id="held"),
        pytest.param(
            ran(status=63, stderr="error opening file: /dev/sg3: Permission denied\n"),
            ReadRefused,
            "may not|not permitted|denied|Permission",
            id="forbidden",
        ),
    ],
)
def test_what_is_no_inventory_is_told_as_what_it_is(
    answer: object, kind: type[Exception], words: str
) -> None:
    port = ScriptedPort()
    library("A").tell(port)
    port.readings["changer.elements", CHANGER_AT] = answer
    with pytest.raises(kind, match=words):
        look(inventories(), port)


def test_a_report_that_was_cut_never_empties_a_library() -> None:
    port = ScriptedPort()
    found = library("A", "B", "C")
    found.tell(port)
    whole = found.report()
    for length in range(len(whole)):
        port.readings["changer.elements", CHANGER_AT] = ran(whole[:length])
        with pytest.raises(ProbeFailed):
            look(inventories(), port)


@given(raw=st.binary(max_size=200))
def test_garbage_is_a_failure(raw: bytes) -> None:
    port = ScriptedPort()
    library("A").tell(port)
    port.readings["changer.elements", CHANGER_AT] = ran(raw)
    with pytest.raises(ProbeFailed):
        look(inventories(), port)


def test_a_unit_attention_is_heard_and_the_command_is_sent_again() -> None:
    attention = ran(status=6, stderr="Unit attention\n")

    class Once(ScriptedPort):
        """Answers with a unit attention first."""

        async def read(self, row: str, object_id: str = "") -> object:  # type: ignore[override]
            reading = await super().read(row, object_id)
            if row == "changer.addresses":
                library("A").tell(self)
            return reading

    port = Once()
    library("A").tell(port)
    port.readings["changer.addresses", CHANGER_AT] = attention
    assert values(look(inventories(), port), "library_elements")[LIBRARY, "storage"] == 1.0


def test_a_library_that_always_has_something_else_to_tell_is_failed() -> None:
    port = ScriptedPort()
    library("A").tell(port)
    port.readings["changer.addresses", CHANGER_AT] = ran(status=6)
    with pytest.raises(ProbeFailed, match="something to tell"):
        look(inventories(), port)


def test_of_what_a_library_tells_while_looks_fail_the_newest_is_kept() -> None:
    port = ScriptedPort()
    library("A").tell(port)
    answers = port.readings["changer.addresses", CHANGER_AT]
    port.readings["changer.addresses", CHANGER_AT] = ran(
        status=6,
        stderr="Fixed format, current; Sense key: Unit Attention\n"
        "Additional sense: Import or export element accessed\n",
    )
    probe = inventories()
    for _ in range(MAX_HEARD):
        with pytest.raises(ProbeFailed):
            look(probe, port)
    port.readings["changer.addresses", CHANGER_AT] = answers
    (told,) = look(probe, port).news
    assert told.facts["times"] == MAX_HEARD


def test_what_was_seen_holds_while_a_library_is_busy_all_night() -> None:
    assert isinstance(inventories(), Patient)
    assert inventories().max_age_s >= 12 * 3600
    assert not isinstance(libraries(), Patient)


def test_uses_of_a_cleaning_cartridge_are_counted_over_restarts() -> None:
    port, probe, after = ScriptedPort(), inventories(), inventories()
    waiting, loaded = library("CLN001L8", "A"), library(None, "A")
    loaded.places[2] = Place(DRIVE, 500, "CLN001L8", drive="DRV0001")
    left = []
    for found in (waiting, loaded, waiting, loaded, waiting):
        found.tell(port)
        left.append(values(look(probe, port), "tape_cleaning_cartridge_uses_remaining"))
    assert [one[LIBRARY, "CLN001L8"] for one in left] == [50, 49, 49, 48, 48]
    after.restore(probe.to_plain())
    assert values(look(after, port), "tape_cleaning_cartridge_uses_remaining") == left[-1]


@pytest.mark.parametrize(
    ("used", "left"),
    [pytest.param(50, 50.0, id="a new one"), pytest.param(49, 1.0, id="the same")],
)
def test_who_comes_after_a_cleaning_cartridge_that_was_used_up_is_a_new_one(
    used: int, left: float
) -> None:
    port, probe = ScriptedPort(), inventories()
    probe.restore({"cleanings": {LIBRARY: {"CLN001L8": used}}})
    for found in (library("CLN001L8"), library(None), library("CLN001L8")):
        found.tell(port)
        frame = look(probe, port)
    assert values(frame, "tape_cleaning_cartridge_uses_remaining") == {(LIBRARY, "CLN001L8"): left}


@pytest.mark.parametrize(
    "kept", [None, 7, {}, {"devices": 1, "cleanings": {LIBRARY: {"CLN001L8": "x"}}}]
)
def test_what_was_kept_of_no_uses_is_left_out(kept: object) -> None:
    port, probe = ScriptedPort(), inventories()
    library("CLN001L8").tell(port)
    probe.restore(kept)
    assert values(look(probe, port), "tape_cleaning_cartridge_uses_remaining") == {
        (LIBRARY, "CLN001L8"): 50.0
    }
