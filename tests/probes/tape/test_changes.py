"""What happened in a library between two looks, as events."""

import asyncio
from typing import Any

import pytest

from fakes import ScriptedPort
from probes.tape.fix_tape import (
    CHANGER_AT,
    DRIVE,
    LIBRARY,
    MAIL,
    STORAGE,
    FakeLibrary,
    Place,
    library,
    ran,
)
from storewatchd.core.frames import News, Scope
from storewatchd.core.model import EventType
from storewatchd.errors import ProbeFailed
from storewatchd.probes.tape.asking import TRIES
from storewatchd.probes.tape.changes import attentions
from storewatchd.probes.tape.libraries import InventoriesProbe
from storewatchd.probes.tape.reports import Reports
from storewatchd.scsi.sense import Sense, SenseKey

SCOPE = Scope("library_inventories", (("library", LIBRARY),))


class Watch:
    """A probe that looks at one library again and again."""

    def __init__(self) -> None:
        self.probe = InventoriesProbe(Reports())
        self.port = ScriptedPort()

    def see(self, found: FakeLibrary) -> list[tuple[str, dict[str, Any]]]:
        found.tell(self.port)
        return self.look()

    def look(self) -> list[tuple[str, dict[str, Any]]]:
        news = asyncio.run(self.probe.collect(self.port, SCOPE)).news
        assert all(isinstance(one, News) and one.type is EventType.TAPE for one in news)
        return [(one.kind, dict(one.facts)) for one in news]


def at(kind: int, address: int, tag: str | None, **more: Any) -> FakeLibrary:
    found = library("T1")
    found.places.append(Place(kind, address, tag, **more))
    return found


SLOT = {"type": "storage", "element": 2000}
BAY = {"type": "drive", "element": 600, "drive": "DRV0009"}
MAIL_SLOT = {"type": "import_export", "element": 20}
PLACES: dict[str, tuple[int, int, dict[str, Any], dict[str, Any]]] = {
    "slot": (STORAGE, 2000, SLOT, {}),
    "other slot": (STORAGE, 2001, {**SLOT, "element": 2001}, {}),
    "bay": (DRIVE, 600, BAY, {"drive": "DRV0009"}),
    "mail slot": (MAIL, 20, MAIL_SLOT, {}),
}


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("slot", "bay", "loaded"),
        ("bay", "slot", "unloaded"),
        ("slot", "other slot", "moved"),
        ("slot", "mail slot", "exported"),
        ("mail slot", "slot", "imported"),
        ("mail slot", "bay", "loaded"),
    ],
)
def test_a_cartridge_that_is_elsewhere_was_moved(old: str, new: str, kind: str) -> None:
    watch = Watch()
    was, now = PLACES[old], PLACES[new]
    assert watch.see(at(was[0], was[1], "X", **was[3])) == []
    assert watch.see(at(now[0], now[1], "X", **now[3])) == [
        (kind, {"library": LIBRARY, "barcode": "X", "from": was[2], "to": now[2]})
    ]
    assert watch.look() == []


def test_cartridges_that_come_and_go_are_told() -> None:
    watch = Watch()
    watch.see(library("T1"))
    assert watch.see(at(STORAGE, 2000, "X")) == [
        ("cartridge_added", {"library": LIBRARY, "barcode": "X", "to": SLOT})
    ]
    assert watch.see(library("T1")) == [
        ("cartridge_removed", {"library": LIBRARY, "barcode": "X", "from": SLOT})
    ]


def test_of_a_bar_code_that_is_there_twice_nobody_knows_which_one_moved() -> None:
    watch = Watch()
    watch.see(library("A", "A", None))
    assert watch.see(library("A", None, "A")) == []


def test_a_look_that_failed_makes_no_news_of_its_own() -> None:
    watch = Watch()
    watch.see(library("A", "B"))
    watch.port.readings["changer.elements", CHANGER_AT] = ran(b"")
    with pytest.raises(ProbeFailed):
        watch.look()
    assert watch.see(library("A", "B")) == []


def test_a_unit_attention_is_told_once_also_where_the_look_failed() -> None:
    watch = Watch()
    watch.see(library("A"))
    watch.port.readings["changer.elements", CHANGER_AT] = ran(
        status=6,
        stderr="Fixed format, current; Sense key: Unit Attention\n"
        "Additional sense: Import or export element accessed\n",
    )
    with pytest.raises(ProbeFailed):
        watch.look()
    news = watch.see(library("A"))
    assert {kind for kind, _ in news} == {"unit_attention"}
    assert news[0][1] == {
        "library": LIBRARY,
        "code": "28/01",
        "sense": "unit attention: the mail slot was used (28/01)",
        "times": TRIES,
    }
    assert len(news) == 1, "told together"
    assert watch.look() == []


def test_what_a_library_says_is_told_in_the_words_of_libraries() -> None:
    ready = Sense(SenseKey.UNIT_ATTENTION, 0x28, 0x00)
    of_library, of_drive = (
        next(attentions(label, "X1", [ready])).facts["sense"] for label in ("library", "drive")
    )
    assert of_library == "unit attention: it became ready; its cartridges may be others (28/00)"
    assert of_drive == "unit attention: it became ready; the cartridge may be another one (28/00)"
