"""What /dev/scst_event says, in the layout of SCST's public header. The bytes are put together by
the emulator; where fields are, is told by hand below."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab import scst_events
from storewatchd.errors import Malformed
from storewatchd.probes.scst.events import (
    FUNCTIONS,
    Event,
    LunNotFound,
    MaskedInitiator,
    TaskManagement,
    VirtualDevice,
    parse_event,
)

ESX = "iqn.1998-01.com.vmware:esx07"
TARGET = "iqn.2026-01.example:disk1"

ABORT = scst_events.task_management(
    0, ESX, TARGET, lun=3, device="disk1", session="esx07_1", tag=0x99, cdb=b"\x8a"
)
WHOLE = [
    ABORT,
    scst_events.lun_not_found(ESX, TARGET, 7),
    scst_events.masked_initiator(ESX, TARGET),
    scst_events.virtual_device("disk1"),
]


def test_the_layout_is_that_of_the_header() -> None:
    """struct scst_event is 62 bytes up to its payload; of that of a task management function the
    LUN is at 8, the names at 16, 272, 528 and 784, the tag at 1040 and the CDB at 1048."""
    raw = bytearray(62 + 1064)
    struct.pack_into("=iI", raw, 0, 1064, 4)
    raw[12:21] = b"SCST core"
    struct.pack_into("=I", raw, 62, 4)
    struct.pack_into("=Q", raw, 62 + 8, 11)
    for at, name in ((16, b"disk9"), (272, b"host"), (528, b"tgt"), (784, b"host_1")):
        raw[62 + at : 62 + at + len(name)] = name
    assert parse_event(bytes(raw)) == TaskManagement(
        "lun_reset", "host", "tgt", "host_1", "11", "disk9"
    )
    raw[62:66] = bytes(4)
    raw[62 + 1040] = 1
    raw[62 + 1048] = 0x2A
    event = parse_event(bytes(raw))
    assert isinstance(event, TaskManagement)
    assert (event.function, event.command) == ("abort_task", "WRITE(10)")


@pytest.mark.parametrize(
    ("raw", "event"),
    [
        pytest.param(
            ABORT,
            TaskManagement("abort_task", ESX, TARGET, "esx07_1", "3", "disk1", "WRITE(16)"),
            id="abort of a command",
        ),
        pytest.param(
            scst_events.task_management(0, ESX, TARGET, lun=3, device="disk1", tag=5),
            TaskManagement("abort_task", ESX, TARGET, ESX, "3", "disk1", "TEST UNIT READY"),
            id="abort of a command whose first byte is zero",
        ),
        pytest.param(
            scst_events.task_management(0, ESX, TARGET, lun=3),
            TaskManagement("abort_task", ESX, TARGET, ESX, "3"),
            id="abort of a command that has ended",
        ),
        pytest.param(
            scst_events.task_management(5, ESX, TARGET, lun=0),
            TaskManagement("target_reset", ESX, TARGET, ESX),
            id="reset of a whole target",
        ),
        pytest.param(
            scst_events.task_management(6, ESX, TARGET),
            TaskManagement("nexus_loss_session", ESX, TARGET, ESX),
            id="a session that ends",
        ),
        pytest.param(
            scst_events.lun_not_found(ESX, TARGET, 7), LunNotFound(ESX, TARGET, "7"), id="no LUN"
        ),
        pytest.param(
            scst_events.lun_not_found(ESX, TARGET, (1 << 64) - 1),
            LunNotFound(ESX, TARGET, ""),
            id="what is no LUN at all",
        ),
        pytest.param(
            scst_events.masked_initiator(ESX, TARGET), MaskedInitiator(ESX, TARGET), id="masked"
        ),
        pytest.param(scst_events.virtual_device("disk1"), VirtualDevice("disk1"), id="a device"),
    ],
)
def test_an_event_says_what_happened(raw: bytes, event: Event) -> None:
    assert parse_event(raw) == event


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(scst_events.event(5, bytes(90)), id="the code of the ALUA helper"),
        pytest.param(scst_events.event(3, bytes(260)), id="another code"),
        pytest.param(scst_events.event(4, bytes(9), issuer="qla2x00t"), id="another issuer"),
    ],
)
def test_what_nobody_asked_for_is_left_out(raw: bytes) -> None:
    assert parse_event(raw) is None


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        pytest.param(b"", "byte 0: expected 62 bytes of a head", id="empty"),
        pytest.param(ABORT[:500], "byte 500: expected 1126 bytes", id="cut off"),
        pytest.param(
            scst_events.event(4, bytes(900)),
            "expected a payload of 1064 bytes, found 900",
            id="a payload of another layout",
        ),
        pytest.param(
            scst_events.task_management(12, ESX, TARGET), "a function below 12", id="no function"
        ),
        pytest.param(
            scst_events.masked_initiator("", TARGET), "byte 62: expected a name", id="nobody"
        ),
        pytest.param(
            scst_events.event(2, b"x" * 512), "a NUL that ends the text", id="a name without an end"
        ),
    ],
)
def test_what_cannot_be_is_refused(raw: bytes, says: str) -> None:
    with pytest.raises(Malformed, match=says):
        parse_event(raw)


def test_names_that_nobody_can_print_differ_all_the_same() -> None:
    names = ["a\x01", "a\\x01", "a\x85", "a\\", "a\u2028"]
    shown = set()
    for name in names:
        event = parse_event(scst_events.masked_initiator(name, TARGET))
        assert isinstance(event, MaskedInitiator)
        assert event.initiator.isprintable()
        shown.add(event.initiator)
    raw = scst_events.masked_initiator("a?", TARGET).replace(b"a?", b"a\x85")
    event = parse_event(raw)
    assert isinstance(event, MaskedInitiator)
    assert {*shown, event.initiator} == {
        "a\\x01",
        "a\\x5cx01",
        "a\\u0085",
        "a\\x5c",
        "a\\u2028",
        "a\\x85",
    }


def parsed(raw: bytes) -> Event | None:
    """Return what an event says, None where it is refused."""
    try:
        return parse_event(raw)
    except Malformed:
        return None


@given(st.binary(max_size=1300))
def test_garbage_is_no_event(raw: bytes) -> None:
    assert parsed(raw) is None


@given(st.sampled_from(WHOLE), st.data())
def test_an_event_that_is_cut_off_is_none(raw: bytes, data: st.DataObject) -> None:
    whole = raw[:-2]  # the padding behind it says nothing
    length = data.draw(st.integers(0, len(whole) - 1))
    assert parsed(whole[:length]) is None


@given(st.sampled_from(WHOLE), st.data())
def test_a_flipped_bit_gives_an_event_that_can_be_or_none(raw: bytes, data: st.DataObject) -> None:
    bit = data.draw(st.integers(0, 8 * len(raw) - 1))
    broken = bytearray(raw)
    broken[bit // 8] ^= 1 << bit % 8
    event = parsed(bytes(broken))
    if isinstance(event, TaskManagement):
        assert event.function in FUNCTIONS
    if event is not None and not isinstance(event, VirtualDevice):
        assert event.initiator
        assert event.initiator.isprintable()
        assert event.target
