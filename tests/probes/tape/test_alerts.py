"""The probes of TapeAlert flags: what is known of them, and page 2Eh for who asks."""

import asyncio

import pytest

from fakes import NOON, HandClock, ScriptedPort
from probes.fix_probes import assert_keeps_to_its_families, values
from probes.tape.fix_drive import AT, DRIVE, Desk, FakeDrive, Tape, of_kind
from probes.tape.fix_tape import CHANGER_AT, LIBRARY, library, ran
from scsi.fix_logs import log_page, parameter
from storewatchd.core.frames import Frame
from storewatchd.errors import ProbeAbsent, ProbeDeferred, ProbeFailed
from storewatchd.probes.base import Remembering
from storewatchd.probes.tape.alerts import MAX_AGE_S, TapeAlertsProbe, make_tape_alerts
from storewatchd.scsi.logs import TapeAlerts

ROW = "scsi.tapealert"


def read_once(*flags: int) -> object:
    """Return what page 2Eh says, as the reader tells it (SSC-4 8.2.3)."""
    return ran(log_page(0x2E, *(parameter(n, (int(n in flags), 1)) for n in range(1, 65))))


class Lab:
    """A library with a drive, and a broker that looks at them."""

    def __init__(self, *, is_broker: bool = True) -> None:
        self.clock = HandClock()
        self.alerts = make_tape_alerts(self.clock.clock, is_broker=is_broker)
        self.port = ScriptedPort()
        library("A").tell(self.port, **{DRIVE: "st0"})

    def look(self, probe: TapeAlertsProbe, device: str) -> Frame:
        frame = asyncio.run(probe.collect(self.port, probe.scope(device)))
        assert_keeps_to_its_families(probe, frame)
        return frame

    def drive(self) -> Frame:
        return self.look(self.alerts.drives, DRIVE)

    def ask(self, *flags: int) -> Frame:
        """Ask for the flags of the drive, which shows these."""
        self.port.readings[ROW, AT] = read_once(*flags)
        ask = self.alerts.drives.ask(DRIVE)
        frame = self.drive()
        assert (ask.is_done, ask.failure) == (True, "")
        return frame


def test_page_2eh_is_read_once_for_each_time_that_somebody_asks() -> None:
    lab = Lab()
    frame = lab.ask(4, 30)
    assert values(frame, "tape_drive_tapealert_active") == {
        (DRIVE, "4", "media", "critical"): 1.0,
        (DRIVE, "30", "hardware A", "critical"): 1.0,
    }
    assert [one["number"] for one in of_kind(frame.news, "tapealert")] == [4, 30]
    lab.port.readings[ROW, AT] = ProbeFailed("nobody asked")
    frame = lab.drive()
    assert frame.news == ()
    assert len(values(frame, "tape_drive_tapealert_active")) == 2, "they are kept"
    assert values(frame, "tape_drive_tapealert_total") == {(DRIVE, "4"): 1.0, (DRIVE, "30"): 1.0}


def test_two_who_ask_at_once_share_a_read() -> None:
    lab = Lab()
    lab.port.readings[ROW, AT] = read_once(4)
    asks = [lab.alerts.drives.ask(DRIVE) for _ in range(2)]
    lab.drive()
    assert all(one.is_done and not one.failure for one in asks)
    assert lab.alerts.drives.book.of(DRIVE).raised[4] == 1


def test_who_took_the_question_back_makes_nothing_be_read() -> None:
    lab = Lab()
    lab.ask()
    lab.port.readings[ROW, AT] = ProbeFailed("nobody asked")
    lab.alerts.drives.withdraw(lab.alerts.drives.ask(DRIVE))
    lab.drive()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        pytest.param(ran(status=24), "reserved", id="reserved elsewhere"),
        pytest.param(ProbeDeferred("it is offline"), "it is offline", id="not asked"),
        pytest.param(ProbeFailed("start it with --tape"), "start it with", id="no consent"),
        pytest.param(ran(bytes(3)), "may have been lost", id="cut"),
        pytest.param(ran(status=5), "refuses", id="no such page"),
    ],
)
def test_a_read_that_fails_is_told_to_who_asked_and_ends_no_flag(
    answer: object, words: str
) -> None:
    lab = Lab()
    lab.ask(4)
    for _ in range(3):
        lab.port.readings[ROW, AT] = answer
        ask = lab.alerts.drives.ask(DRIVE)
        frame = lab.drive()
        assert ask.is_done
        assert words in ask.failure
        assert (DRIVE, "4", "media", "critical") in values(frame, "tape_drive_tapealert_active")


def test_a_unit_attention_that_the_read_took_is_told_to_everybody() -> None:
    lab = Lab()
    lab.port.readings[ROW, AT] = ran(
        status=6,
        stderr="Fixed format, current; Sense key: Unit Attention\n"
        "Additional sense: Not ready to ready change, medium may have changed\n",
    )
    lab.alerts.drives.book.of(DRIVE).seen_at = NOON
    lab.alerts.drives.ask(DRIVE)
    told = of_kind(lab.drive().news, "unit_attention")
    assert {one["code"] for one in told} == {"28/00"}


def test_a_unit_attention_alone_says_nothing_of_a_door() -> None:
    lab = Lab()
    lab.port.readings[ROW, CHANGER_AT] = ran(
        status=6,
        stderr="Fixed format, current; Sense key: Unit Attention\n"
        "Additional sense: Import or export element accessed\n",
    )
    lab.alerts.libraries.ask(LIBRARY)
    frame = lab.look(lab.alerts.libraries, LIBRARY)
    assert {one["code"] for one in of_kind(frame.news, "unit_attention")} == {"28/01"}
    assert values(frame, "library_door_open") == values(frame, "library_online") == {}


def test_a_drive_that_is_gone_cannot_be_asked() -> None:
    lab = Lab()
    lab.port.readings["sys.scsi", ""] = {}
    ask = lab.alerts.drives.ask(DRIVE)
    with pytest.raises(ProbeDeferred):  # that it is gone others tell
        lab.drive()
    assert (ask.is_done, ask.failure) == (True, f"{DRIVE} is not connected")


def test_nothing_is_said_of_flags_that_nobody_has_seen() -> None:
    lab = Lab()
    with pytest.raises(ProbeDeferred, match="nobody has seen its flags yet"):
        lab.drive()
    lab.alerts.drives.book.of(DRIVE).has_response_page = False
    with pytest.raises(ProbeDeferred):
        lab.drive()


def test_without_page_12h_and_without_a_broker_there_are_no_flags() -> None:
    lab = Lab(is_broker=False)
    lab.alerts.drives.book.of(DRIVE).has_response_page = False
    with pytest.raises(ProbeAbsent, match="page 2Eh is not ours to read"):
        lab.drive()


def test_what_only_page_2eh_tells_stands_until_somebody_asks_again() -> None:
    lab = Lab()
    lab.alerts.drives.book.of(DRIVE).has_response_page = False
    lab.ask(4)
    lab.clock.forward(30 * MAX_AGE_S)
    assert values(lab.drive(), "tape_drive_tapealert_active")


def test_what_page_12h_said_holds_for_a_day_while_somebody_holds_the_drive() -> None:
    desk = Desk(FakeDrive(flags=frozenset({4})))
    desk.look()
    desk.is_held = True
    with pytest.raises(ProbeDeferred):
        desk.look(MAX_AGE_S - 60)
    assert values(desk.flags(), "tape_drive_tapealert_active")
    desk.now += 120
    with pytest.raises(ProbeDeferred, match="for a day"):
        desk.flags()


def mount_of(desk: Desk, *, flags_before_eject: frozenset[int] = frozenset()) -> dict[str, object]:
    """Load and unload a cartridge, while whoever asks is told of flags; return the record."""
    desk.drive.tape, desk.drive.loads = Tape(), desk.drive.loads + 1
    desk.look()
    desk.alerts.book.of(DRIVE).see_read(TapeAlerts(flags_before_eject), desk.now + 1)
    desk.drive.tape = None
    (mount,) = desk.news("mount")
    return mount


def test_a_flag_belongs_to_the_mount_that_it_came_in_and_ends_with_the_next_good_one() -> None:
    desk = Desk(FakeDrive(pages=(0, 2, 3, 0x11, 0x14, 0x17)))  # no page 12h
    desk.look()
    assert mount_of(desk, flags_before_eject=frozenset({4}))["flags"] == [4]
    assert desk.alerts.book.of(DRIVE).active == {4}
    desk.drive.uncorrected = 1
    assert mount_of(desk)["flags"] == []
    assert desk.alerts.book.of(DRIVE).active == {4}, "that mount was not good either"
    desk.drive.uncorrected = 0
    desk.alerts.book.of(DRIVE).see_read(TapeAlerts(frozenset({4})), desk.now)
    mount_of(desk)
    assert desk.alerts.book.of(DRIVE).active == frozenset()


def test_a_library_has_flags_of_its_own() -> None:
    lab = Lab()
    lab.port.readings[ROW, CHANGER_AT] = read_once(16, 21)
    ask = lab.alerts.libraries.ask(LIBRARY)
    frame = lab.look(lab.alerts.libraries, LIBRARY)
    assert ask.failure == ""
    assert values(frame, "library_tapealert_active") == {
        (LIBRARY, "16", "library door", "critical"): 1.0,
        (LIBRARY, "21", "library offline", "critical"): 1.0,
    }
    assert values(frame, "library_door_open") == {(LIBRARY,): 1.0}
    assert values(frame, "library_online") == {(LIBRARY,): 0.0}
    assert [one["library"] for one in of_kind(frame.news, "tapealert")] == [LIBRARY, LIBRARY]


@pytest.mark.parametrize("name", [DRIVE, "/dev/nst0", "st0", "nst0a", "/dev/st0m", "/dev/sg4", AT])
def test_a_drive_is_found_by_any_of_its_names(name: str) -> None:
    lab = Lab()
    found = asyncio.run(lab.alerts.drives.device_named(lab.port, name))
    assert found == DRIVE


@pytest.mark.parametrize("name", ["", "/dev/", "nst1", "st00", "sg", "sg3", LIBRARY])
def test_what_is_no_name_of_a_drive_finds_none(name: str) -> None:
    lab = Lab()
    assert asyncio.run(lab.alerts.drives.device_named(lab.port, name)) is None


def test_flags_are_remembered_over_a_restart() -> None:
    lab, after = Lab(), Lab()
    lab.ask(4)
    assert isinstance(lab.alerts.drives, Remembering)
    after.alerts.drives.restore(lab.alerts.drives.to_plain())
    frame = after.drive()
    assert values(frame, "tape_drive_tapealert_active")
    assert frame.news == (), "they were told"
    for kept in (None, 7, {}, {"devices": 3, "flags": []}):
        after.alerts.drives.restore(kept)
