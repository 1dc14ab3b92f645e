"""The live configuration of a real SCST against what is saved."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.scst.fix_scst import TGT1, TGT2, attributes, rarely_seen, saved_text
from storewatch_reader.scst import CHEAP, STEADY
from storewatchd.probes.scst.drift import KINDS, Change, Drift, drifts, unstable
from storewatchd.probes.scst.model import Scst
from storewatchd.probes.scst.saved import Saved, parse_saved
from storewatchd.probes.scst.tree import parse_tree

IDLE = "run1/06-configured-idle"
TEXT = saved_text("configured-idle")


def whole(state: str) -> Scst:
    """Return all of SCST but the files of its devices."""
    return parse_tree(attributes(state, (*CHEAP, *STEADY)))


def found(text: str, state: str = IDLE) -> list[Drift]:
    return drifts(whole(state), rarely_seen(state), parse_saved(text))


@pytest.mark.parametrize(
    ("state", "config"),
    [
        (IDLE, "configured-idle"),
        ("run1/07-with-sessions-idle", "configured-idle"),
        ("run1/09-during-io-t5", "configured-idle"),
        ("run1/30-pass-through", "pass-through"),
    ],
)
def test_what_scstadmin_has_just_written_is_the_same(state: str, config: str) -> None:
    assert found(saved_text(config), state) == []


@pytest.mark.parametrize(
    ("was", "becomes", "expected"),
    [
        pytest.param(
            "\t\tLUN 3 null01\n\t\tLUN 5",
            "\t\tLUN 5",
            Drift("lun", f"iscsi/{TGT1}/3", Change.VANISHES),
            id="a LUN that is not saved",
        ),
        pytest.param(
            "\t\tLUN 300 gone",
            "\t\tLUN 300 gone\n\t\tLUN 301 gone",
            Drift("lun", f"iscsi/{TGT1}/301", Change.RETURNS),
            id="a LUN that was taken out",
        ),
        pytest.param(
            "\t\tLUN 2 blk01",
            "\t\tLUN 2 blk02",
            Drift("lun", f"iscsi/{TGT1}/2", Change.CHANGES),
            id="another device behind a LUN",
        ),
        pytest.param(
            "\t\t\tLUN 0 disk02\n",
            "",
            Drift("lun", f"iscsi/{TGT2}/hosts/0", Change.VANISHES),
            id="a LUN of a group",
        ),
        pytest.param(
            "\t\tGROUP empty\n",
            "",
            Drift("group", f"iscsi/{TGT2}/empty", Change.VANISHES),
            id="a group that is not saved",
        ),
        pytest.param(
            "\t\tGROUP empty\n",
            "\t\tGROUP empty\n\t\tGROUP more\n",
            Drift("group", f"iscsi/{TGT2}/more", Change.RETURNS),
            id="a group that was taken out",
        ),
        pytest.param(
            "\t\t\tINITIATOR iqn.2026-11.lab.client:two\n",
            "",
            Drift("initiator", f"iscsi/{TGT2}/hosts/iqn.2026-11.lab.client:two", Change.VANISHES),
            id="an initiator that is not saved",
        ),
        pytest.param(
            "\tTARGET not-an-iqn_name {\n\t\tenabled 0\n\t}\n",
            "",
            Drift("target", "iscsi/not-an-iqn_name", Change.VANISHES),
            id="a target that is not saved",
        ),
        pytest.param(
            "\tTARGET local_nolun\n",
            "\tTARGET local_nolun\n\tTARGET local_more\n",
            Drift("target", "scst_local/local_more", Change.RETURNS),
            id="a target that was taken out",
        ),
        pytest.param(
            "\tTARGET not-an-iqn_name {\n\t\tenabled 0\n",
            "\tTARGET not-an-iqn_name {\n\t\tenabled 1\n",
            Drift("enabled", "iscsi/not-an-iqn_name", Change.CHANGES),
            id="a target that was disabled",
        ),
        pytest.param(
            "\tDEVICE null01\n",
            "",
            Drift("device", "null01", Change.VANISHES),
            id="a device that is not saved",
        ),
        pytest.param(
            "\tDEVICE null01\n",
            "\tDEVICE null01\n\tDEVICE null02\n",
            Drift("device", "null02", Change.RETURNS),
            id="a device that was taken out",
        ),
        pytest.param(
            "HANDLER vdisk_nullio",
            "HANDLER vdisk_other",
            Drift("device", "null-dummy", Change.CHANGES),
            id="a device of another handler",
        ),
        pytest.param(
            "/var/lab/thin.img",
            "/var/lab/fat.img",
            Drift("filename", "thin_vol-1", Change.CHANGES),
            id="another file",
        ),
    ],
)
def test_each_difference_is_told(was: str, becomes: str, expected: Drift) -> None:
    assert TEXT.count(was) == 1
    told = found(TEXT.replace(was, becomes))
    assert expected in told
    assert {one.kind for one in told} == {expected.kind}
    assert expected.kind in KINDS


def test_what_is_not_saved_at_all_vanishes_but_for_what_comes_by_itself() -> None:
    told = found("")
    assert {one.change for one in told} == {Change.VANISHES}
    names = [one.name for one in told if one.kind == "target"]
    assert "scst_local/local1" in names
    assert "scst_local/scst_local_tgt" not in names
    assert len([one for one in told if one.kind == "device"]) == 13


def test_of_a_file_that_is_not_known_nothing_is_said() -> None:
    changed = parse_saved(TEXT.replace("thin.img", "fat.img"))
    rarely = parse_tree(attributes(IDLE, STEADY))
    assert drifts(whole(IDLE), rarely, changed) == drifts(whole(IDLE), Scst(), changed) == []


def test_what_was_made_since_files_were_asked_for_is_not_missed() -> None:
    before = "run1/05-iscsi-daemon-running-empty"
    assert drifts(whole(IDLE), rarely_seen(before), parse_saved(TEXT)) == []


def test_of_scst_that_is_empty_all_that_is_saved_returns() -> None:
    assert {one.change for one in drifts(Scst(), Scst(), parse_saved(TEXT))} == {Change.RETURNS}


def test_nothing_and_nothing_are_the_same() -> None:
    assert drifts(Scst(), Scst(), Saved()) == []


@pytest.mark.parametrize(
    ("path", "is_unstable"),
    [
        *(("/dev/sdb", True), ("/dev/sdaa1", True), ("/dev/sg3", True), ("/dev/nst0", True)),
        *(("/dev/st1", True), ("/dev/nvme0n1p2", True), ("/dev/dm-3", True), ("/dev/sch0", True)),
        *(("/dev/disk/by-id/wwn-0x5", False), ("/dev/mapper/a", False), ("/dev/vg/sda", False)),
        *(("/srv/dev/sda", False), ("/dev/md0", False), ("/dev/zvol/a/b", False), ("", False)),
    ],
)
def test_names_that_another_disk_may_get_are_told(path: str, is_unstable: bool) -> None:
    saved = parse_saved(f"HANDLER vdisk_blockio {{\nDEVICE a {{\nfilename {path}\n}}\n}}\n")
    assert unstable(Scst(), saved) == ({"a": path} if is_unstable else {})


@given(st.integers(0, len(TEXT)), st.integers(0, 200))
def test_whatever_is_missing_is_told_once(at: int, length: int) -> None:
    lines = TEXT[:at].count("\n"), TEXT[: at + length].count("\n")
    left = TEXT.split("\n")
    kept = [
        line
        for n, line in enumerate(left)
        if not lines[0] <= n < lines[1] or "{" in line or "}" in line
    ]
    told = found("\n".join(kept))
    assert len({(one.kind, one.name) for one in told}) == len(told)
