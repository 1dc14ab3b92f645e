"""scst.conf as scstadmin writes it, and as nobody should."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.scst.fix_scst import TGT, TGT1, TGT2, saved_text
from storewatch_reader.boot import redacted
from storewatchd.errors import Malformed
from storewatchd.probes.scst.saved import Saved, SavedDevice, SavedGroup, SavedTarget, parse_saved

TEXT = saved_text("configured-idle")


def test_what_scstadmin_wrote_is_read() -> None:
    saved = parse_saved(TEXT)
    assert saved.drivers == {"iscsi", "scst_local"}
    assert saved.handlers == {"vcdrom", "vdisk_blockio", "vdisk_fileio", "vdisk_nullio"}
    assert len(saved.devices) == 13
    assert saved.devices["cd-empty"] == SavedDevice("vcdrom")
    assert saved.devices["blk02"] == SavedDevice("vdisk_blockio", "/dev/mapper/lab-lin1")
    assert saved.devices["name:with@odd#chars+1%20"].filename == "/var/lab/big.img"
    assert set(saved.targets) == {
        *(("iscsi", TGT.format(name)) for name in ("chap", "disabled", "nolun", "tgt1", "tgt2")),
        ("iscsi", "not-an-iqn_name"),
        *(("scst_local", name) for name in ("local1", "local_nolun", "scst_local_tgt")),
    }
    assert saved.targets["iscsi", TGT.format("disabled")] == SavedTarget(False, {0: "disk01"})
    assert saved.targets["iscsi", TGT1] == SavedTarget(
        is_enabled=True,
        luns=dict(
            (
                *((0, "disk01"), (1, "disk02"), (2, "blk01"), (3, "null01"), (5, "thin_vol-1")),
                *((6, "blk02"), (7, "disk03"), (9, "cd01"), (300, "gone")),
            )
        ),
    )
    assert saved.targets["iscsi", TGT2].groups == {
        "empty": SavedGroup(),
        "hosts": SavedGroup(
            {0: "disk02", 1: "blk02"},
            frozenset({"iqn.2026-11.lab.client:one", "iqn.2026-11.lab.client:two"}),
        ),
        "wild.card": SavedGroup(
            {0: "null01"}, frozenset({"*#127.0.0.1", "iqn.1993-08.org.debian:*"})
        ),
    }


def test_what_the_reader_holds_back_is_not_missed() -> None:
    assert parse_saved("\n".join(redacted(TEXT))) == parse_saved(TEXT)


def test_devices_that_are_passed_through_have_no_file() -> None:
    saved = parse_saved(saved_text("pass-through"))
    assert saved.devices["11:0:10:0"] == SavedDevice("dev_tape")
    assert saved.devices["9:0:0:0"] == SavedDevice("dev_disk")


def test_a_name_in_quotes_is_without_them() -> None:
    saved = parse_saved('HANDLER h {\nDEVICE d {\nfilename "/srv/a b"\n}\n}\n')
    assert saved.devices == {"d": SavedDevice("h", "/srv/a b")}


def test_nothing_is_saved_in_an_empty_file() -> None:
    assert parse_saved("# nothing\n\n") == Saved()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("}\n", "scst.conf, byte 0: expected a statement, and not the end of a block"),
        ("HANDLER a {\n", "scst.conf, byte 12: expected the end of a block"),
        ("# é\n{\n}\n", "scst.conf, byte 5: expected a name before the block"),
        ("HANDLER a b {\n}\n", "HANDLER of scst.conf, byte 0: expected one name"),
        (
            "TARGET_DRIVER a {\nTARGET b {\nLUN\n}\n}\n",
            "LUN of scst.conf, byte 29: expected a number and a name",
        ),
        (
            "TARGET_DRIVER a {\nTARGET b {\nLUN x d\n}\n}\n",
            "LUN of scst.conf, byte 29: expected a number",
        ),
        ("a {\n" * 20 + "}\n" * 20, "scst.conf, byte 60: expected no more blocks in blocks"),
    ],
)
def test_what_is_no_scst_conf_is_refused(text: str, said: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse_saved(text)
    assert str(caught.value) == said


def misplaced(text: str) -> bool:
    """Whether a text is refused at a place that it has not."""
    try:
        parse_saved(text)
    except Malformed as error:
        return not 0 <= error.at <= len(text.encode(errors="surrogatepass"))
    return False


@given(st.integers(0, len(TEXT) - 1))
def test_of_a_file_that_was_cut_off_nothing_is_misread(length: int) -> None:
    whole = parse_saved(TEXT)
    try:
        cut = parse_saved(TEXT[:length])
    except Malformed:
        return
    assert cut.devices.items() <= whole.devices.items()
    assert cut.targets.items() <= whole.targets.items()


WORDS = ("HANDLER ", "LUN ", "TARGET_DRIVER ", "TARGET ", "DEVICE ", "1 ", "a", "\n", " {\n", "}\n")


@given(st.lists(st.sampled_from(WORDS)))
def test_any_order_of_words_is_read_or_refused(words: list[str]) -> None:
    assert not misplaced("".join(words))


@given(st.text(), st.integers(0, len(TEXT)))
def test_garbage_is_read_or_refused(garbage: str, at: int) -> None:
    assert not misplaced(TEXT[:at] + garbage + TEXT[at:])
