"""How a tool of sg3_utils ended: exit status and standard error together."""

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi.fix_captures import Run, sg_runs
from storewatchd.errors import Malformed
from storewatchd.scsi.sense import Sense, SenseKey
from storewatchd.scsi.sg_tools import Ending, judge, parse_sense_text

RUNS = sg_runs()
CAPTURED = [pytest.param(run, id=name) for name, run in RUNS.items()]

# What the text of a run shows to a reader: the first mark that is there decides.
MARKS = [
    ("Host_status=0x03", Ending.TIMED_OUT),
    ("Host_status=", Ending.TRANSPORT),
    ("should never exceed", Ending.TRANSPORT),
    ("Inappropriate ioctl", Ending.OS_ERROR),
    ("No such ", Ending.GONE),
    ("Permission denied", Ending.FORBIDDEN),
    ("Device or resource busy", Ending.HELD),
    ("Numerical argument out of domain", Ending.UNSUPPORTED),
    ("Reservation conflict", Ending.RESERVATION_CONFLICT),
    ("Reservation Conflict", Ending.RESERVATION_CONFLICT),
    ("Busy", Ending.BUSY),
]
BY_STATUS = {
    2: Ending.NOT_READY,
    3: Ending.MEDIUM_OR_HARDWARE,
    5: Ending.ILLEGAL_REQUEST,
    6: Ending.UNIT_ATTENTION,
    9: Ending.UNSUPPORTED,
    24: Ending.RESERVATION_CONFLICT,
    26: Ending.BUSY,
    35: Ending.TRANSPORT,
    97: Ending.MALFORMED,
    99: Ending.UNKNOWN,
}
SUSPECT_AT_ZERO = ("flags length too short", "bad pass-through setup")


def shown(run: Run) -> Ending:
    if run.status is None:
        return Ending.STUCK
    for mark, ending in MARKS:
        if mark in run.stderr:
            return ending
    if run.status == 0:
        suspect = any(words in run.stderr for words in SUSPECT_AT_ZERO)
        return Ending.UNKNOWN if suspect else Ending.OK
    if run.status < 0:
        return Ending.KILLED
    return {52: Ending.GONE, 63: Ending.FORBIDDEN}.get(run.status) or BY_STATUS[run.status]


@pytest.mark.parametrize("run", CAPTURED)
def test_a_captured_run_ended_as_its_text_shows(run: Run) -> None:
    outcome = judge(run.status, run.stderr)
    assert outcome.ending is shown(run)
    assert outcome.is_ok == (outcome.ending is Ending.OK)
    assert len(outcome.senses) == run.stderr.count("Sense key: ")
    assert all(sense.printed == "" for sense in outcome.senses)


SENTENCES = [
    ("tools/sg_inq-timed-out", "the command did not reach the device or got no answer"),
    ("tools/sg_raw-not-ready", "not ready: there is no cartridge (3A/00)"),
    ("tools/sg_raw-medium-error", "medium error: unrecovered read error (11/00)"),
    ("tools/sg_raw-busy", "the device is busy"),
    ("tools/sg_turs-changer-reserved", "another host has reserved the device"),
    ("tools/sg_turs-changer-not-ready", "not ready: it waits for somebody to do something at it"),
    ("tools/tgtd-sg_logs-power-on-ua", "unit attention: it was switched on or reset (29/00)"),
    ("tools/sg_turs-open-enxio", "no such device or address"),
]


@pytest.mark.parametrize(("name", "sentence"), SENTENCES)
def test_the_sentence_names_the_reason(name: str, sentence: str) -> None:
    assert judge(RUNS[name].status, RUNS[name].stderr).sentence.startswith(sentence)


def test_what_a_tool_says_of_its_failure_is_passed_on() -> None:
    """So ends sg_logs 1.46 where the device answers BUSY, or not at all, to its first question."""
    said = "/dev/sg0 doesn't respond to a SCSI INQUIRY"
    outcome = judge(99, f"{said}\nsg_logs failed: Some other error\n")
    assert outcome.ending is Ending.UNKNOWN
    assert outcome.sentence == f"the tool failed, and says: {said}"
    assert judge(99, "").sentence == "the tool failed and does not say why"


def test_a_dead_transport_is_no_success_although_the_status_is_zero() -> None:
    run = RUNS["tools/sg_turs-timed-out"]
    assert (run.status, judge(run.status, run.stderr).ending) == (0, Ending.TIMED_OUT)


def test_a_device_that_is_gone_is_not_merely_not_ready() -> None:
    stderr = "test unit ready: pass-through os error: No such device or address\n"
    outcome = judge(2, stderr)
    assert (outcome.ending, outcome.errno) == (Ending.GONE, errno.ENXIO)


def test_a_unit_attention_is_kept_whatever_came_of_the_command() -> None:
    run = RUNS["tools/sg_logs-2e-unit-attention"]
    assert judge(run.status, run.stderr).senses == (Sense(SenseKey.UNIT_ATTENTION, 0x28, 0x00),)
    told = run.stderr.replace("log sense:", "data-in decoded as sense:", 1).split("log_sense")[0]
    outcome = judge(0, told)
    assert outcome.is_ok
    assert outcome.senses[0].is_unit_attention


def test_sg_raw_says_how_much_it_received() -> None:
    run = RUNS["tools/sg_raw-read-element-status-binary"]
    assert judge(run.status, run.stderr).received_bytes == 2190
    assert judge(99, run.stderr).received_bytes is None
    assert judge(0, "").received_bytes is None


def test_a_page_that_a_device_does_not_have_is_unsupported() -> None:
    outcome = judge(83, "sg_vpd failed: Numerical argument out of domain\n")
    assert outcome.ending is Ending.UNSUPPORTED
    assert outcome.sentence == "the device does not have this page"


@pytest.mark.parametrize(
    ("status", "stderr", "ending"),
    [
        (0, "SCSI Status: Good \n\nWriting 8 bytes of data to stdout\n", Ending.OK),
        (0, "SCSI Status: Good \n\n", Ending.OK),
        (0, "something that we have not met\n", Ending.UNKNOWN),
        (0, "log sense:\nFixed format, current; Sense key: Not Ready\n", Ending.UNKNOWN),
        (0, "Fixed format, current; Sense key: Bogus\n", Ending.UNKNOWN),
        (0, "x: transport: Host_status=0x00 [DID_OK]\n", Ending.UNKNOWN),
        (99, "Host_status=0x00 [DID_OK]\nDriver_status=0x06 [DRIVER_TIMEOUT]\n", Ending.TIMED_OUT),
        (0, "Host_status=0x13\n", Ending.TRANSPORT),
        (99, "SCSI Status: Task Set Full \n", Ending.BUSY),
        (99, "SCSI Status: Unheard Of \n", Ending.UNKNOWN),
        (33, "", Ending.TIMED_OUT),
        (66, "", Ending.HELD),
        (55, "", Ending.OS_ERROR),
        (120, "", Ending.UNKNOWN),
        (-9, "", Ending.KILLED),
        (None, "", Ending.STUCK),
    ],
)
def test_status_and_text_are_weighed_together(
    status: int | None, stderr: str, ending: Ending
) -> None:
    assert judge(status, stderr).ending is ending


def test_an_unknown_exit_status_is_named() -> None:
    assert judge(120, "").sentence == "the tool exited with 120, which means nothing to us"


CURRENT = "Fixed format, current; Sense key: "


@pytest.mark.parametrize(
    ("text", "sense"),
    [
        (
            f"{CURRENT}Unit Attention\nAdditional sense: Import or export element accessed\n",
            Sense(SenseKey.UNIT_ATTENTION, 0x28, 0x01),
        ),
        (
            f"{CURRENT}Not Ready\nvendor specific ASC=83, ASCQ=02 (hex)\n",
            Sense(SenseKey.NOT_READY, 0x83, 0x02),
        ),
        (
            f"{CURRENT}Unit Attention\nASC=44, vendor specific qualification ASCQ=81 (hex)\n",
            Sense(SenseKey.UNIT_ATTENTION, 0x44, 0x81),
        ),
        (
            f"{CURRENT}Unit Attention\nASC=28, ASCQ=7f (hex)\n",
            Sense(SenseKey.UNIT_ATTENTION, 0x28, 0x7F),
        ),
        (
            f"{CURRENT}Unit Attention\nAdditional sense: Some news of the year 2040\n",
            Sense(SenseKey.UNIT_ATTENTION, printed="Some news of the year 2040"),
        ),
        (
            (
                "Descriptor format, <<<deferred>>>; Sense key: Unit Attention\n"
                "Additional sense: Not ready to ready change, medium may have changed\n"
            ),
            Sense(SenseKey.UNIT_ATTENTION, 0x28, 0x00, is_deferred=True),
        ),
        (
            (
                f"{CURRENT}No Sense\nAdditional sense: Filemark detected\n"
                "  Info fld=0x10000 [65536]  FMK EOM ILI\n"
            ),
            Sense(
                SenseKey.NO_SENSE,
                0x00,
                0x01,
                has_filemark=True,
                is_end_of_medium=True,
                is_incorrect_length=True,
                information=0x10000,
            ),
        ),
        (
            f"{CURRENT}No Sense\n  EOM\n",
            Sense(SenseKey.NO_SENSE, is_end_of_medium=True),
        ),
        (
            (
                f"{CURRENT}Not Ready\n"
                "Additional sense: Logical unit is in process of becoming ready\n"
                "  Progress indication: 50.00%\n"
            ),
            Sense(SenseKey.NOT_READY, 0x04, 0x01, progress=0.5),
        ),
        (f"{CURRENT}Vendor specific(9)\n", Sense(SenseKey.VENDOR_SPECIFIC)),
        (f"log sense: {CURRENT}Completed", Sense(SenseKey.COMPLETED)),
    ],
)
def test_printed_sense_is_read(text: str, sense: Sense) -> None:
    assert parse_sense_text(text) == (sense,)


def test_words_that_we_lack_are_passed_on() -> None:
    (sense,) = parse_sense_text(f"{CURRENT}Unit Attention\nAdditional sense: Good news\n")
    assert sense.sentence == "unit attention: Good news"


def test_text_without_sense_has_none() -> None:
    assert parse_sense_text("sg_inq failed: Busy\n") == ()


def test_a_sense_key_that_does_not_exist_is_malformed() -> None:
    with pytest.raises(Malformed, match="sense text, byte 34: expected the name of a sense key"):
        parse_sense_text(f"{CURRENT}Bogus\n")


@given(st.one_of(st.none(), st.integers(-64, 255)), st.text(max_size=200))
def test_any_text_is_judged(status: int | None, stderr: str) -> None:
    outcome = judge(status, stderr)
    assert outcome.sentence
    assert not outcome.is_ok or status == 0


@given(st.sampled_from([run for run in RUNS.values() if run.stderr]), st.data())
def test_cut_text_never_makes_a_failure_a_success(run: Run, data: st.DataObject) -> None:
    if run.status == 0:
        return
    cut = run.stderr[: data.draw(st.integers(0, len(run.stderr)))]
    assert not judge(run.status, cut).is_ok


@given(st.sampled_from(list(RUNS.values())), st.sampled_from(["01", "3", "0e"]))
def test_no_run_with_a_failed_transport_is_ok(run: Run, code: str) -> None:
    assert not judge(run.status, f"{run.stderr}\nx: transport: Host_status=0x{code} []\n").is_ok
