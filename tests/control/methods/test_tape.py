"""tape.*: the flags of a drive, once for each who asks, and none of them lost on the way."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from control.fix_control import Control, open_control
from probes.tape.fix_drive import AT, DRIVE
from probes.tape.fix_tape import CHANGER_AT, LIBRARY, library, ran
from probes.tape.test_alerts import ROW, read_once
from storewatch.wire import Code
from storewatchd.control.methods import tape as tape_module
from storewatchd.errors import ProbeFailed
from storewatchd.probes.tape.alerts import make_tape_alerts


@pytest.fixture
async def taped(tmp_path: Path) -> AsyncIterator[Control]:
    """A control plane that is the broker of a library and a drive."""
    async with open_control(tmp_path, with_tapes=True) as control:
        library("A").tell(control.outside.port, **{DRIVE: "st0"})
        show(control)
        yield control


def show(control: Control, *flags: int, at: str = AT) -> None:
    control.outside.port.readings[ROW, at] = read_once(*flags)


async def alert(control: Control, **more: str) -> list[int]:
    """Ask for the flags of the drive, and say that they arrived."""
    report = await control.call("tape.alert", device="/dev/nst0", **more)
    assert (report["device"], report["kind"], report["unread"]) == (DRIVE, "drive", "")
    await control.call("tape.told", device=DRIVE, mark=report["mark"], **more)
    return [one["number"] for one in report["flags"]]


async def test_a_flag_is_told_with_what_it_means(taped: Control) -> None:
    show(taped, 4)
    report = await taped.call("tape.alert", device=DRIVE)
    ((flag),) = report["flags"]
    assert (flag["number"], flag["name"], flag["severity"]) == (4, "media", "critical")
    assert flag["advice"].startswith("The cartridge is at fault")
    assert flag["timestamp"].endswith("Z")


async def test_everybody_who_asks_is_told_a_flag_once(taped: Control) -> None:
    show(taped, 4, 20)
    assert await alert(taped, asker="bareos") == [4, 20]
    show(taped)
    assert await alert(taped, asker="bareos") == []
    assert await alert(taped) == [4, 20]
    assert await alert(taped) == []


async def test_what_nobody_confirmed_is_told_again(taped: Control) -> None:
    show(taped, 4)
    for _ in range(2):
        report = await taped.call("tape.alert", device=DRIVE)
        assert [one["number"] for one in report["flags"]] == [4]
        show(taped)


async def test_a_flag_that_came_twice_since_is_told_once(taped: Control) -> None:
    assert await alert(taped) == []
    show(taped, 4)
    for _ in range(2):
        await taped.call("tape.alert", device=DRIVE)
    assert await alert(taped) == [4]


async def test_what_was_read_is_written_down_before_it_is_told(taped: Control) -> None:
    await taped.call("tape.alert", device=DRIVE)
    assert taped.outside.kept == 0
    show(taped, 4)
    report = await taped.call("tape.alert", device=DRIVE)
    assert taped.outside.kept == 1
    for _ in range(2):
        await taped.call("tape.told", device=DRIVE, mark=report["mark"])
    assert taped.outside.kept == 2


async def test_a_library_is_asked_by_its_node(taped: Control) -> None:
    show(taped, 16, at=CHANGER_AT)
    report = await taped.call("tape.alert", device="/dev/sg3")
    assert (report["device"], report["kind"]) == (LIBRARY, "library")
    assert [one["name"] for one in report["flags"]] == ["library door"]


async def test_where_the_drive_cannot_be_asked_what_is_known_is_told_and_why(
    taped: Control,
) -> None:
    show(taped, 4)
    await taped.call("tape.alert", device=DRIVE)
    taped.outside.port.readings[ROW, AT] = ran(status=24)
    report = await taped.call("tape.alert", device=DRIVE)
    assert [one["number"] for one in report["flags"]] == [4]
    assert report["unread"] == "another host has reserved the device"


async def test_a_device_that_is_none_is_not_found(taped: Control) -> None:
    code, sentence = await taped.refusal("tape.alert", device="/dev/nst7")
    assert (code, sentence) == (
        Code.NOT_FOUND,
        "there is no tape drive or library '/dev/nst7' that could be told by its number",
    )
    assert (await taped.refusal("tape.told", device="x", mark=1))[0] == Code.NOT_FOUND


async def test_where_no_device_can_be_looked_for_that_is_told(taped: Control) -> None:
    taped.outside.port.readings["sys.scsi", ""] = ProbeFailed("the reader is gone")
    assert await taped.refusal("tape.alert", device=DRIVE) == (
        Code.UNAVAILABLE,
        "no device can be looked for: the reader is gone",
    )


async def test_nobody_is_told_anything_while_we_are_not_the_broker(taped: Control) -> None:
    clock = taped.node.clock.clock
    for probe, off in zip(
        taped.outside.tape_alerts.probes, make_tape_alerts(clock).probes, strict=True
    ):
        probe.is_broker = off.is_broker
    code, sentence = await taped.refusal("tape.alert", device=DRIVE)
    assert code == Code.CONFLICT
    assert sentence.startswith("the TapeAlert broker is off")
    assert "tape.alert_broker" in sentence
    assert "--tapealert-broker" in sentence


async def test_a_probe_that_is_disabled_reads_nothing_and_says_so(tmp_path: Path) -> None:
    async with open_control(tmp_path) as control:
        library("A").tell(control.outside.port, **{DRIVE: "st0"})
        report = await control.call("tape.alert", device=DRIVE)
    assert report["flags"] == []
    assert "there is no probe 'tape_alerts'" in report["unread"]


async def test_a_drive_that_does_not_answer_is_not_waited_for_longer_than_a_call_takes(
    taped: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The port of a control plane's tests answers at once: the bound is what is made short.
    monkeypatch.setattr(tape_module, "READ_WITHIN_S", 0.0)
    report = await taped.call("tape.alert", device=DRIVE)
    assert report["unread"] == "it has not answered within 0 s"


async def test_a_drive_that_goes_meanwhile_is_told(
    taped: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tape_module, "MAX_LOOKS", 0)
    report = await taped.call("tape.alert", device=DRIVE)
    assert report["unread"] == "it is not there any more"
