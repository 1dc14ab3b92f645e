"""Why an alert changed, in words."""

from typing import Any

import pytest

from fix_shapes import NOON
from storewatch.ctl import words
from storewatch.ctl.stories import story, why
from storewatch.wire.types import Event, TimelineEntry

HELD: dict[str, Any] = {
    "rule": "Full",
    "version": "v",
    "expr": "used /\n  size > 0.8",
    "value": 0.853,
    "state": "exact",
    "series": {"repository": "a"},
    "for_seconds": 600.0,
}
CREATED: dict[str, Any] = {"actor": "ann", "key": None, "ttl_seconds": None}
SINCE = words.local_time(NOON)


@pytest.mark.parametrize(
    ("kind", "reason", "sentence"),
    [
        pytest.param(
            "firing",
            HELD,
            f'the value is 0.853: used / size > 0.8 holds for {{repository="a"}} since {SINCE}',
            id="a rule",
        ),
        pytest.param(
            "firing",
            {**HELD, "state": "at_least", "series": {}},
            f"the value is at least 0.853: used / size > 0.8 holds since {SINCE}",
            id="a bound",
        ),
        pytest.param(
            "firing",
            {**HELD, "expr": "increase(a[10m]) > 0", "value": 1.00001, "series": {}},
            f"the value is about 1: increase(a[10m]) > 0 holds since {SINCE}",
            id="a number that is reckoned",
        ),
        pytest.param(
            "pending",
            {**HELD, "value": None, "series": {"__name__": "up"}},
            f"the value is ?: used / size > 0.8 holds for up since {SINCE}, and it fires if that "
            "goes on for 10 min",
            id="pending",
        ),
        pytest.param(
            "firing",
            {**HELD, "expr": f"{'a' * 110} > 12345678"},
            f'the value is 0.853 for {{repository="a"}} since {SINCE}; its expression: '
            "storewatchctl rules show Full",
            id="a long expression",
        ),
        pytest.param(
            "firing",
            {**HELD, "expr": f"{'a' * 110} > 1234567", "series": {}},
            f"the value is 0.853: {'a' * 110} > 1234567 holds since {SINCE}",
            id="an expression of 120 characters",
        ),
        pytest.param(
            "pending",
            {**HELD, "expr": "a" * 121},
            f'the value is 0.853 for {{repository="a"}} since {SINCE}, and it fires if that goes '
            "on for 10 min; its expression: storewatchctl rules show Full",
            id="a long expression, pending",
        ),
        pytest.param("firing", CREATED, "created by ann", id="created"),
        pytest.param(
            "repeated",
            {**CREATED, "key": "k", "ttl_seconds": 600},
            "created again by ann with the key k; it ends unless it is created again within 10 min",
            id="repeated",
        ),
        pytest.param("acknowledged", {"actor": "ann", "note": None}, "by ann", id="marked"),
        pytest.param(
            "resolved", {"actor": "ann", "note": "disk\nnew"}, "by ann: disk new", id="with a note"
        ),
        pytest.param(
            "resolved",
            {"rule": "R", "version": "v", "why": "the condition no longer holds", "fired": True},
            "the condition no longer holds",
            id="by its rule",
        ),
        pytest.param(
            "resolved",
            {"rule": "R", "version": "v", "why": "the condition no longer holds", "fired": False},
            "the condition no longer holds, and it never fired",
            id="not fired",
        ),
        pytest.param("resolved", {"why": "it goes on", "id": "7"}, "it goes on: 7", id="another"),
        pytest.param("resolved", {"rule": "R"}, "the rule R is no longer there", id="rule gone"),
        pytest.param(
            "stale",
            {"unseen": [{"repository": "a"}, {}, {"x": "1"}, {"x": "2"}]},
            'what it rests on cannot be seen: {repository="a"}, anything, {x="1"} and 1 more',
            id="stale",
        ),
        pytest.param(
            "fresh", {"unseen_seconds": 90.0}, "it is seen again, after 1 min 30 s", id="fresh"
        ),
        pytest.param("novel", {"strange": 7, "empty": []}, "strange 7", id="unheard of"),
        pytest.param("firing", {"expr": 7, "x": "y"}, "expr 7, x y", id="of another shape"),
    ],
)
def test_why_an_alert_changed_is_a_sentence(
    kind: str, reason: dict[str, Any], sentence: str
) -> None:
    entry = TimelineEntry(id="e.1", seq=1, timestamp=NOON, kind=kind, reason=reason)
    assert why(entry, since=NOON) == sentence


# Events about objects.


@pytest.mark.parametrize(
    ("kind", "changes", "sentence"),
    [
        ("object_found", {"to": {"sg": "sg3"}}, "tape drive HU1: found"),
        ("object_gone", {}, "tape drive HU1: gone"),
        (
            "object_renamed",
            {"from": {"sg": "sg3", "tape": ""}, "to": {"sg": "sg5", "tape": "nst0"}},
            "tape drive HU1: renamed, sg sg3 -> sg5, tape unknown -> nst0",
        ),
        (
            "object_swapped",
            {"other": "HU0", "from": {"bay": ""}, "to": {"bay": "0"}},
            "tape drive HU1: swapped (was HU0), bay unknown -> 0",
        ),
        ("object_shared", {"other": "HU0"}, "tape drive HU1: shared (with HU0)"),
    ],
)
def test_what_became_of_an_object_is_one_sentence(
    kind: str, changes: dict[str, Any], sentence: str
) -> None:
    data = {"kind": "tape_drive", "id": "HU1", "facts": {}, "from": {}, "to": {}, **changes}
    if not data["from"]:
        data["from"] = dict.fromkeys(data["to"], "")
    assert story(event_of(kind, data)) == sentence


def test_what_a_newer_daemon_tells_of_an_object_is_shown_as_it_is() -> None:
    assert story(event_of("object_gone", {"who": "HU1"})) == "who HU1"


def event_of(kind: str, data: dict[str, Any]) -> Event:
    return Event(id="e.1", seq=1, node="n", timestamp=NOON, type="tape", kind=kind, data=data)


# Events about tapes.

MOVED = {"library": "LIB1", "barcode": "A00001L8"}
SLOT = {"type": "storage", "element": 1003}
DRIVE = {"type": "drive", "element": 0, "drive": "HU1"}


@pytest.mark.parametrize(
    ("kind", "data", "sentence"),
    [
        (
            "loaded",
            {**MOVED, "from": SLOT, "to": DRIVE},
            "cartridge A00001L8: loaded from storage 1003 to drive 0 (HU1), library LIB1",
        ),
        (
            "exported",
            {**MOVED, "from": SLOT, "to": {"type": "import_export", "element": 16}},
            "cartridge A00001L8: exported from storage 1003 to import export 16, library LIB1",
        ),
        (
            "cartridge_added",
            {**MOVED, "to": SLOT},
            "cartridge A00001L8: added to storage 1003, library LIB1",
        ),
        (
            "cartridge_removed",
            {**MOVED, "from": DRIVE},
            "cartridge A00001L8: removed from drive 0 (HU1), library LIB1",
        ),
        (
            "tapealert",
            {
                "drive": "HU1",
                "barcode": "A00001L8",
                "number": 20,
                "name": "clean now",
                "severity": "critical",
                "advice": "Clean it.",
            },
            "critical: drive HU1 with cartridge A00001L8: TapeAlert 20, clean now: Clean it.",
        ),
        (
            "tapealert",
            {"library": "LIB1", "number": 65, "name": "", "severity": "", "advice": "Look."},
            "library LIB1: TapeAlert 65, : Look.",
        ),
        (
            "mount",
            {
                "drive": "HU1",
                "barcode": "",
                "loads": 1,
                "from": NOON,
                "to": NOON,
                "flags": [3, 20],
                "serial": "",
            },
            f"cartridge ? in drive HU1 from {SINCE} to {SINCE}: loads 1, TapeAlert 3, 20",
        ),
        ("unit_attention", {"drive": "HU1", "code": "29/00"}, "drive HU1, code 29/00"),
        ("loaded", {**MOVED, "from": 7}, "library LIB1, barcode A00001L8, from 7"),
    ],
)
def test_what_became_of_a_tape_is_one_sentence(
    kind: str, data: dict[str, Any], sentence: str
) -> None:
    assert story(event_of(kind, data)) == sentence
