"""What mtx prints: listings, and how a run ended."""

import errno
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi.fix_captures import Run, mtx_runs
from storewatchd.errors import Malformed
from storewatchd.scsi.elements import ElementType
from storewatchd.scsi.mtx import (
    MtxElement,
    MtxStatus,
    judge_mtx,
    parse_mtx_senses,
    parse_mtx_status,
)
from storewatchd.scsi.sense import Sense, SenseKey
from storewatchd.scsi.sg_tools import Ending

_, SLOT, MAIL, DRIVE = ElementType
RUNS = mtx_runs()
LISTINGS = {name: run for name, run in RUNS.items() if run.stdout}
FAILURES = {name: run for name, run in RUNS.items() if not run.stdout}
RUN1 = "mhvtl/run1-drive11-crashed"


def listing(name: str) -> MtxStatus:
    run = LISTINGS[name]
    return parse_mtx_status(run.stdout, stderr=run.stderr, status=run.status)


def full(status: MtxStatus) -> list[int]:
    kinds = (DRIVE, SLOT, MAIL)
    return [sum(one.is_full for one in status.of_type(kind)) for kind in kinds]


def tags(status: MtxStatus, kind: ElementType) -> dict[int, str]:
    return {one.number: one.tag for one in status.of_type(kind) if one.tag}


# Captured listings.

SUSPECT = {
    "tools/mtx-status-exceptions": ("it announces 2 mail slots and lists 1",),
    "tools/mtx-status-mode-sense-fails": (
        "it printed an error: Mode sense (0x1A) for Page 0x1D failed",
    ),
}


@pytest.mark.parametrize("run", [pytest.param(run, id=name) for name, run in LISTINGS.items()])
def test_every_captured_listing_is_read(run: Run) -> None:
    status = parse_mtx_status(run.stdout, stderr=run.stderr, status=run.status)
    assert status.suspect == SUSPECT.get(run.name, ())
    # Counted with other means: words in the output.
    assert len(status.of_type(DRIVE)) == run.stdout.count(b"Data Transfer Element ")
    assert len(status.of_type(MAIL)) == run.stdout.count(b" IMPORT/EXPORT:")
    assert sum(full(status)) == run.stdout.count(b":Full ")
    sources = run.stdout.count(b"Full (Storage Element ")
    assert sum(one.source is not None for one in status.elements) == sources


def test_a_loaded_library_of_mhvtl() -> None:
    status = listing(f"{RUN1}/07-mail-slot-occupied/L700-6_0_0_0.mtx-status")
    assert status.device == "/dev/sg0"
    assert tags(status, DRIVE) == {0: "E01001L8", 2: "F01030L6"}
    assert [drive.source for drive in status.of_type(DRIVE)] == [1, None, 30, None]
    assert tags(status, MAIL) == {40: "E01002L8", 41: "E01003L8"}
    assert full(status) == [2, 28, 2]
    assert tags(status, SLOT)[22] == "CLN101L8"


def test_a_library_of_tgt_has_blank_tags_on_empty_slots() -> None:
    status = listing("tgt/run2/07-mail-slot-occupied/L700-6_0_0_3.mtx-status")
    assert status.of_type(SLOT)[0] == MtxElement(SLOT, 1, False, "", "")
    assert tags(status, SLOT) == {2: "LAB002L5", 4: "LAB004L5", 5: "CLN001L5", 6: "WRM001L5"}
    assert tags(status, MAIL) == {11: "LAB003L5"}
    assert full(status) == [1, 4, 1]


def test_labels_of_any_kind_are_kept() -> None:
    assert tags(listing("tools/mtx-status-odd-barcodes"), SLOT) == {
        **{number: f"LAB{number:03d}L8" for number in (4, 5, 6, 7, 12)},
        8: "AB CD:=L8",
        9: "caf",  # mtx cuts at the first byte that is no ASCII
        10: "A",
        11: "X" * 32,
    }


def test_an_unknown_source_is_none() -> None:
    drive = listing("tools/mtx-status-source-unknown-full-library").of_type(DRIVE)[0]
    assert (drive.is_full, drive.source, drive.tag) == (True, None, "LAB003L8")


def test_what_mtx_hides_cannot_be_seen() -> None:
    # A short transfer with good status: ten slots look empty. Nothing in the text tells.
    status = listing("tools/mtx-status-truncated")
    assert status.suspect == ()
    assert full(status)[1] == 0
    # A unit attention: the labels of the slots are lost.
    assert tags(listing("tools/mtx-status-ua-at-read-element-status"), SLOT) == {}


def test_both_tags_are_read() -> None:
    head = b"  Storage Changer /dev/tape/by-id/a:b:1 Drives, 1 Slots ( 0 Import/Export )\n"
    drive = b"Data Transfer Element 0:Full (Storage Element -1 Loaded)"
    drive += b":VolumeTag = A:B=C     :AlternateVolumeTag = D\n"
    slot = b"      Storage Element 1:Full :VolumeTag=E :AlternateVolumeTag=F\n"
    status = parse_mtx_status(head + drive + slot)
    assert status.device == "/dev/tape/by-id/a:b"
    assert status.elements == (
        MtxElement(DRIVE, 0, True, "A:B=C", "D", None),
        MtxElement(SLOT, 1, True, "E", "F"),
    )


# What speaks against a listing.

HEAD = b"  Storage Changer /dev/sg0:1 Drives, 2 Slots ( 1 Import/Export )\n"
EMPTY = b"Data Transfer Element 0:Empty\n"
ONE = b"      Storage Element 1:Empty\n"
TWO = b"      Storage Element 2 IMPORT/EXPORT:Empty\n"


@pytest.mark.parametrize(
    ("stdout", "reasons"),
    [
        (HEAD + EMPTY + ONE + TWO, []),
        (HEAD + ONE + TWO, ["it announces 1 drives and lists 0"]),
        (
            HEAD + EMPTY + ONE,
            [
                "it announces 2 slots and lists 1",
                "it announces 1 mail slots and lists 0",
            ],
        ),
        (HEAD + EMPTY + TWO + ONE, ["its numbers are not in order", "its mail slots are not"]),
        (
            HEAD + EMPTY.replace(b"0", b"1") + ONE + TWO,
            ["its numbers are not in order"],
        ),
        (
            HEAD + EMPTY + TWO.replace(b"2", b"1") + ONE.replace(b"1", b"2"),
            ["its mail slots are not the last"],
        ),
    ],
)
def test_a_listing_that_contradicts_itself_is_suspect(stdout: bytes, reasons: list[str]) -> None:
    suspect = parse_mtx_status(stdout).suspect
    assert len(suspect) == len(reasons)
    for said, reason in zip(suspect, reasons, strict=True):
        assert said.startswith(reason)


@pytest.mark.parametrize(
    ("status", "stderr", "reason"),
    [
        (1, "", "it exited with 1"),
        (-11, "", "it exited with -11"),
        (None, "", "it has not ended"),
        (0, "a\nb\n", "it printed an error: b"),
    ],
)
def test_a_run_that_went_wrong_is_suspect(status: int | None, stderr: str, reason: str) -> None:
    stdout = HEAD + EMPTY + ONE + TWO
    assert parse_mtx_status(stdout, stderr=stderr, status=status).suspect == (reason,)


@pytest.mark.parametrize(
    ("stdout", "message"),
    [
        (b"", "byte 0: expected the line that names the changer"),
        (b"\n", "byte 0: expected the line that names the changer"),
        (EMPTY + ONE, "byte 0: expected the line that names the changer"),
        (HEAD[:-1], "byte 64: expected the end of a line"),
        (HEAD + EMPTY + b"\n", "byte 95: expected a drive or a slot, found ''"),
        (HEAD + ONE[1:], "byte 65: expected a drive or a slot, found 'Storage Element 1:Empty'"),
        (HEAD + EMPTY[:-1] + b":VolumeTag = X\n", "byte 65: expected a drive or a slot"),
        (HEAD + ONE[:-1] + b":VolumeTag=" + b"X" * 37 + b"\n", "byte 65: expected a drive"),
        (HEAD + ONE[:-1] + b":VolumeTag=\xe9\n", "byte 65: expected a drive or a slot"),
    ],
)
def test_what_mtx_does_not_print_is_malformed(stdout: bytes, message: str) -> None:
    with pytest.raises(Malformed, match=f"^{re.escape(f'mtx status, {message}')}"):
        parse_mtx_status(stdout)


@given(st.sampled_from(list(LISTINGS.values())), st.data())
def test_a_listing_that_was_cut_is_malformed_or_suspect(run: Run, data: st.DataObject) -> None:
    cut = run.stdout[: data.draw(st.integers(0, len(run.stdout) - 1))]
    try:
        status = parse_mtx_status(cut)
    except Malformed:
        return
    assert status.suspect


@given(st.binary(max_size=200))
def test_garbage_is_malformed(stdout: bytes) -> None:
    for prefix in (b"", HEAD):
        try:
            status = parse_mtx_status(prefix + stdout)
        except Malformed:
            continue
        assert status.suspect


# How a run ended.

MARKS = [
    ("No such ", Ending.GONE),
    ("Permission denied", Ending.FORBIDDEN),
    ("Device or resource busy", Ending.HELD),
    ("Sense Key=Not Ready", Ending.NOT_READY),
    ("Sense Key=Unit Attention", Ending.UNIT_ATTENTION),
    ("Sense Key=Illegal Request", Ending.ILLEGAL_REQUEST),
]


@pytest.mark.parametrize("run", [pytest.param(run, id=name) for name, run in FAILURES.items()])
def test_a_captured_failure_is_told(run: Run) -> None:
    outcome = judge_mtx(run.status, run.stderr)
    if run.status is None:
        expected = Ending.STUCK
    elif run.status < 0:
        expected = Ending.KILLED
    else:
        expected = next((end for mark, end in MARKS if mark in run.stderr), Ending.UNKNOWN)
    assert outcome.ending is expected
    assert len(outcome.senses) == run.stderr.count("Error Code=70 (Current)")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("tools/mtx-open-eacces", "permission denied"),
        ("tools/mtx-open-regular-file", "mtx says: /srv/plainfile is not an sg device, or old sg"),
        ("tools/mtx-status-garbage", "mtx says: illegal Element Type Code 167 reported"),
        ("tools/mtx-status-becoming-ready", "not ready: it is getting ready; a cartridge may be"),
        ("tools/mtx-status-busy", "the device is reserved, busy or gone, and mtx does not tell"),
        (
            "mhvtl/run2/18-unit-attention-inquiry-changed/mtx-status-1st",
            "unit attention: what it says of itself has changed (3F/03)",
        ),
    ],
)
def test_the_sentence_names_the_reason(name: str, sentence: str) -> None:
    assert judge_mtx(RUNS[name].status, RUNS[name].stderr).sentence.startswith(sentence)


@pytest.mark.parametrize("run", [pytest.param(run, id=name) for name, run in LISTINGS.items()])
def test_a_captured_success_has_nothing_on_standard_error(run: Run) -> None:
    assert judge_mtx(run.status, run.stderr).is_ok == (run.stderr == "")


@pytest.mark.parametrize(
    ("status", "stderr", "ending", "number"),
    [
        (1, "cannot open SCSI device '/dev/sg0' - Too many open files\n", Ending.OS_ERROR, None),
        (1, "cannot open SCSI device '/dev/sg0' - No such device\n", Ending.GONE, errno.ENODEV),
        (1, "", Ending.UNKNOWN, None),
        (1, "No Source for tape in drive 0!\n", Ending.UNKNOWN, None),
        (0, "\n", Ending.OK, None),
    ],
)
def test_a_run_is_judged(status: int, stderr: str, ending: Ending, number: int | None) -> None:
    outcome = judge_mtx(status, stderr)
    assert (outcome.ending, outcome.errno) == (ending, number)


def block(error: str, key: str, code: str, qualifier: str) -> str:
    fields = ("Long Report=yes", f"Error Code={error}", f"Sense Key={key}")
    codes = (f"Additional Sense Code = {code}", f"Additional Sense Qualifier = {qualifier}")
    return "".join(f"mtx: Request Sense: {field}\n" for field in (*fields, *codes))


@pytest.mark.parametrize(
    ("text", "senses"),
    [
        (
            block("70 (Current)", "Unit Attention", "28", "01")
            + block("71 (Deferred)", "Hardware Error", "3B", "16"),
            (
                Sense(SenseKey.UNIT_ATTENTION, 0x28, 0x01),
                Sense(SenseKey.HARDWARE_ERROR, 0x3B, 0x16, is_deferred=True),
            ),
        ),
        (block("0 (Unknown?!)", "No Sense", "00", "00"), ()),
        (block("70 (Current)", "Bogus", "28", "01"), ()),
        (block("70 (Current)", "Unit Attention", "2", "01"), ()),
        ("mtx: Request Sense: Additional Sense Qualifier = 01\n", ()),
    ],
)
def test_printed_sense_is_read(text: str, senses: tuple[Sense, ...]) -> None:
    assert parse_mtx_senses(text) == senses


def test_a_key_without_an_ending_of_its_own_is_another_sense() -> None:
    outcome = judge_mtx(1, block("70 (Current)", "Blank Check", "00", "05"))
    assert outcome.ending is Ending.OTHER_SENSE


@given(st.one_of(st.none(), st.integers(-64, 255)), st.text(max_size=120))
def test_any_run_is_judged(status: int | None, stderr: str) -> None:
    outcome = judge_mtx(status, stderr)
    assert outcome.sentence
    assert not outcome.is_ok or (status == 0 and not stderr.strip())
