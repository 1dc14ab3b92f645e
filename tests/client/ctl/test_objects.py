"""storewatchctl objects, against a peer that speaks the wire."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fix_peer import WirePeer
from fix_shapes import NOON
from storewatch.ctl import words
from storewatch.ctl.__main__ import main

Ctl = Callable[..., tuple[int, str, str]]

SINCE = words.local_time(NOON)


@pytest.fixture
def peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WirePeer]:
    monkeypatch.setenv("STOREWATCH_SOCKET", str(tmp_path / "s"))
    monkeypatch.setenv("STOREWATCH_SPOOL", str(tmp_path / "spool"))
    with WirePeer(tmp_path / "s") as peer:
        yield peer


@pytest.fixture
def ctl(capfd: pytest.CaptureFixture[str]) -> Ctl:
    def run(*typed: str) -> tuple[int, str, str]:
        status = main(typed)
        return status, *capfd.readouterr()

    return run


def asked_of(peer: WirePeer, method: str) -> list[dict[str, Any]]:
    return [one["params"] for one in peer.requests if one["method"] == method]


def shape(**changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "kind": "tape_drive",
        "id": "HU1",
        "status": "here",
        "facts": {"sg": "sg3", "bay": "0", "tape": ""},
        "seen_by": ["tape_drives{drive='HU1'}"],
        "first_seen": NOON,
        "since": NOON,
        "until": None,
        "version": 1,
        "node": "n",
    }
    return {**plain, **changes}


def page(*objects: dict[str, Any], **changes: Any) -> dict[str, Any]:
    plain = {"objects": objects, "next_cursor": None, "complete": True, "incomplete_reason": None}
    return {**plain, **changes}


def test_what_is_here_is_a_table(peer: WirePeer, ctl: Ctl) -> None:
    peer.answers["objects.list"] = lambda _: page(shape(), shape(kind="disk", id="W1", facts={}))
    status, out, err = ctl("objects", "list")
    assert (status, err) == (0, "")
    assert [line.split() for line in out.splitlines()] == [
        ["KIND", "ID", "STATUS", "SINCE", "FACTS"],
        ["tape", "drive", "HU1", "here", *SINCE.split(), "bay", "0,", "sg", "sg3"],
        ["disk", "W1", "here", *SINCE.split(), "-"],
    ]
    assert asked_of(peer, "objects.list") == [{"here": True, "limit": 200}]


@pytest.mark.parametrize(
    ("typed", "asked"),
    [
        (("--gone",), {"here": False}),
        (("--all", "--kind", "cartridge"), {"kind": "cartridge"}),
        (
            ("--at", "2026-01-31T03:10:00Z", "--limit", "5", "--cursor", "c"),
            {"here": True, "at": "2026-01-31T03:10:00.000Z", "limit": 5, "cursor": "c"},
        ),
    ],
)
def test_filters_are_asked_for(
    peer: WirePeer, ctl: Ctl, typed: tuple[str, ...], asked: dict[str, Any]
) -> None:
    peer.answers["objects.list"] = lambda _: page()
    assert ctl("objects", "list", *typed)[0] == 0
    assert asked_of(peer, "objects.list") == [{"limit": 200, **asked}]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ((), "nothing is known yet"),
        (("--gone",), "nothing is gone"),
        (("--at", "2h"), "nothing was known then"),
        (("--at", "2h", "--gone"), "nothing was gone then"),
    ],
)
def test_an_empty_list_says_so(peer: WirePeer, ctl: Ctl, typed: tuple[str, ...], said: str) -> None:
    peer.answers["objects.list"] = lambda _: page()
    assert ctl("objects", "list", *typed) == (0, "", f"storewatchctl: {said}\n")


def test_a_list_says_where_it_goes_on_and_what_it_lacks(peer: WirePeer, ctl: Ctl) -> None:
    peer.answers["objects.list"] = lambda _: page(
        shape(), next_cursor="c1", complete=False, incomplete_reason="it is away"
    )
    _, _, err = ctl("objects", "list")
    assert "there are more: --cursor c1" in err
    assert "the list is incomplete: it is away" in err


@pytest.mark.parametrize(
    ("typed", "problem"),
    [
        (("--gone", "--all"), "--gone does not go with --all"),
        (("--at", "lately"), "--at: 'lately' is no time"),
        (("--kind", "robot"), "robot"),
    ],
)
def test_what_is_typed_wrong_is_told(
    peer: WirePeer, ctl: Ctl, typed: tuple[str, ...], problem: str
) -> None:
    status, _, err = ctl("objects", "list", *typed)
    assert (status, problem in err) == (2, True), err
    assert asked_of(peer, "objects.list") == []


def test_an_object_is_shown_with_what_became_of_it(peer: WirePeer, ctl: Ctl) -> None:
    def version(change: str, **changes: Any) -> dict[str, Any]:
        facts = {"sg": "sg3", "bay": "0"}
        plain = {"other": None, "status": "here", "facts": facts, "since": NOON}
        return {"change": change, "until": None, **plain, **changes}

    peer.answers["objects.get"] = lambda _: {
        "object": shape(),
        "versions": [
            version("swapped", other="HU0"),
            version("shared", other="X"),
            version("found"),
        ],
        "complete": False,
        "incomplete_reason": "it is away",
    }
    status, out, err = ctl("objects", "show", "HU1", "--kind", "tape_drive")
    assert status == 0
    assert asked_of(peer, "objects.get") == [{"id": "HU1", "kind": "tape_drive"}]
    assert [line.split()[0] for line in out.splitlines()[3:5]] == ["bay", "sg"]
    assert "seen by     tape_drives{drive='HU1'}" in out
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert f"{SINCE} swapped (was HU0) bay 0, sg sg3" in lines
    assert f"{SINCE} shared (with X) bay 0, sg sg3" in lines
    assert f"{SINCE} found bay 0, sg sg3" in lines
    assert "some may be missing: it is away" in err


def test_json_is_what_the_daemon_says(peer: WirePeer, ctl: Ctl) -> None:
    peer.answers["objects.list"] = lambda _: page(shape())
    _, out, _ = ctl("objects", "list", "--json")
    assert json.loads(out) == json.loads(json.dumps(page(shape())))


def test_what_is_forgotten_is_said(peer: WirePeer, ctl: Ctl) -> None:
    peer.answers["objects.forget"] = lambda _: shape(status="gone", seen_by=[])
    assert ctl("objects", "forget", "HU1") == (0, "the tape drive HU1 is forgotten\n", "")
    assert asked_of(peer, "objects.forget") == [{"id": "HU1", "unseen": False}]
