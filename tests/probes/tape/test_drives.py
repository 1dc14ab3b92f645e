"""Drives: found by serial number, who holds them, and what they transferred."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import NOON, HandClock, ScriptedPort
from probes.fix_probes import assert_keeps_to_its_families, values
from probes.tape.fix_tape import device, library
from storewatchd.core.frames import Frame, Scope
from storewatchd.errors import ProbeAbsent
from storewatchd.probes.tape.alert_book import AlertBook
from storewatchd.probes.tape.devices import parse_devices
from storewatchd.probes.tape.drives import DrivesProbe
from storewatchd.probes.tape.streams import Stream

SCOPE = Scope("tape_drives", (("drive", "DRV0001"),))
AT = "3:0:1:0"


def port_with(*holders: dict[str, Any], **statistics: int) -> ScriptedPort:
    port = ScriptedPort()
    library("A").tell(port, DRV0001="st0", DRV0002="st1")
    for name, value in statistics.items():
        port.readings["sys.scsi", ""][f"scsi_tape/st0/stats/{name}"] = b"%d\n" % value
    port.readings["scsi.holders", ""] = {"devices": {AT: list(holders)}}
    return port


def new_probe() -> DrivesProbe:
    return DrivesProbe(AlertBook(), HandClock().clock)


def look(port: ScriptedPort) -> Frame:
    probe = new_probe()
    frame = asyncio.run(probe.collect(port, SCOPE))
    assert_keeps_to_its_families(probe, frame)
    return frame


def test_every_drive_is_a_scope_and_no_library_is() -> None:
    assert asyncio.run(new_probe().discover(port_with())) == (
        SCOPE,
        Scope("tape_drives", (("drive", "DRV0002"),)),
    )


def test_a_drive_is_told_with_its_nodes() -> None:
    frame = look(port_with())
    assert values(frame, "tape_drive_up") == {("DRV0001",): 1.0}
    assert values(frame, "tape_drive_info") == {
        ("DRV0001", "ACME", "Tape 9", "1.00", "nst0", "sg4", AT, "running"): 1.0
    }
    assert values(frame, "tape_drive_holder") == {}


def test_who_holds_a_drive_is_told_once() -> None:
    bareos = {"pid": 7, "comm": "bareos-sd", "node": "nst0"}
    frame = look(port_with(bareos, {**bareos, "node": "sg4"}))
    assert values(frame, "tape_drive_holder") == {("DRV0001", "bareos-sd", "7"): 1.0}


def test_statistics_are_in_base_units() -> None:
    frame = look(port_with(in_flight=1, write_byte_cnt=5 << 40, write_ns=1_500_000_000))
    assert values(frame, "node_tape_io_now") == {("DRV0001", "st0"): 1.0}
    assert values(frame, "node_tape_written_bytes_total") == {("DRV0001", "st0"): 5.0 * 2**40}
    assert values(frame, "node_tape_write_time_seconds_total") == {("DRV0001", "st0"): 1.5}
    assert values(frame, "node_tape_read_bytes_total") == {}


def test_a_drive_that_is_gone_is_down() -> None:
    port = port_with()
    probe = new_probe()
    before = asyncio.run(probe.discover(port))
    port.readings["sys.scsi", ""] = {}
    assert asyncio.run(probe.discover(port)) == before
    frame = asyncio.run(probe.collect(port, SCOPE))
    assert values(frame, "tape_drive_up") == {("DRV0001",): 0.0}


def test_a_drive_that_went_away_meanwhile_is_absent() -> None:
    port = port_with()
    port.readings["scsi.holders", ""] = {"devices": {"3:0:2:0": []}}
    with pytest.raises(ProbeAbsent, match="went away"):
        look(port)


def test_disks_are_no_drives() -> None:
    assert parse_devices(device("0:0:0:0", 0, "DISK", "sg0")) == []


@given(
    content=st.dictionaries(
        st.sampled_from(
            [
                *("scsi_device/1:0:0:0/device/type", "scsi_device/1:0:0:0/device/vpd_pg80"),
                *("scsi_device/1:0:0:0/device/state", "scsi_device/1:0:0:0/device/scsi_tape/st0/"),
                *("scsi_tape/st0/stats/in_flight", "scsi_device/x", "scsi_device/1:0:0:0/device/"),
            ]
        ),
        st.one_of(st.binary(max_size=30), st.just(b"1\n"), st.integers(-100, -1)),
    )
)
def test_garbled_attributes_harm_nothing(content: dict[str, bytes | int]) -> None:
    for found in parse_devices(content):
        assert found.device_type in (1, 8)
        assert all(value >= 0 for value in found.statistics.values())


# What it does from look to look.

MB = 10**6


class Watch:
    """One LTO-8 drive, looked at every half minute."""

    def __init__(self, product: bytes = b"ULT3580-TD8") -> None:
        self.clock = HandClock()
        self.book = AlertBook()
        self.probe = DrivesProbe(self.book, self.clock.clock)
        self.port = port_with(write_byte_cnt=0, write_cnt=0, read_byte_cnt=0, in_flight=0)
        self.port.readings["sys.scsi", ""][f"scsi_device/{AT}/device/model"] = product
        self.written = 0

    def look(self, *, written: int = 0, read: int = 0, holder: str = "") -> Frame:
        self.clock.forward(30)
        self.written += written
        tree = self.port.readings["sys.scsi", ""]
        tree["scsi_tape/st0/stats/write_byte_cnt"] = b"%d\n" % self.written
        tree["scsi_tape/st0/stats/read_byte_cnt"] = b"%d\n" % read
        holders = [{"pid": 7, "comm": holder, "node": "nst0"}] if holder else []
        self.port.readings["scsi.holders", ""] = {"devices": {AT: holders}}
        frame = asyncio.run(self.probe.collect(self.port, SCOPE))
        assert_keeps_to_its_families(self.probe, frame)
        return frame


def ago(watch: Watch, frame: Frame, family: str) -> float | None:
    """Return for how long something has been so, seconds; None where nothing is said."""
    found = list(values(frame, f"tape_drive_{family}_timestamp_seconds").values())
    return watch.clock.wall() - found[0] if found else None


def test_how_fast_a_drive_is_written_is_known_from_the_second_look_on() -> None:
    watch = Watch()
    assert values(watch.look(), "tape_drive_stream_bytes_per_second") == {}
    frame = watch.look(written=30 * 250 * MB)
    assert values(frame, "tape_drive_stream_bytes_per_second") == {("DRV0001", "write"): 250.0 * MB}
    assert values(frame, "tape_drive_stream_min_bytes_per_second") == {("DRV0001",): 112.0 * MB}
    assert values(watch.look(), "tape_drive_stream_bytes_per_second") == {}


def test_time_below_the_lowest_speed_is_counted_apart() -> None:
    watch = Watch()
    for rate in (0, 200, 200):
        watch.look(written=30 * rate * MB)
    frame = watch.look(written=30 * 60 * MB)
    assert values(frame, "tape_drive_writing_seconds_total") == {("DRV0001",): 90.0}
    assert values(frame, "tape_drive_slow_writing_seconds_total") == {("DRV0001",): 30.0}
    frame = watch.look(read=30 * MB)
    assert values(frame, "tape_drive_writing_seconds_total") == {("DRV0001",): 90.0}


@pytest.mark.parametrize(
    ("product", "cartridge", "lowest"),
    [
        pytest.param(b"ULT3580-TD8", "", 112, id="IBM"),
        pytest.param(b"ULTRIUM-HH9", "", 177, id="Quantum"),
        pytest.param(b"Ultrium 7-SCSI", "", 101, id="HPE"),
        pytest.param(b"ULT3580-TD9", "LTO-8", 112, id="an older cartridge"),
        pytest.param(b"ULT3580-TD9", "LTO-M8", 177, id="a cartridge without known speeds"),
        pytest.param(b"T10000B", "", None, id="no LTO"),
    ],
)
def test_the_lowest_speed_is_that_of_the_generation(
    product: bytes, cartridge: str, lowest: int | None
) -> None:
    watch = Watch(product)
    watch.book.of("DRV0001").generation = cartridge
    frame = watch.look(written=1)
    expected = {} if lowest is None else {("DRV0001",): float(lowest * MB)}
    assert values(frame, "tape_drive_stream_min_bytes_per_second") == expected
    assert bool(values(frame, "tape_drive_writing_seconds_total")) == (lowest is not None)


def test_since_when_a_drive_is_held_and_does_nothing_is_told() -> None:
    watch = Watch()
    frame = watch.look()
    assert ago(watch, frame, "held_since") is None
    assert ago(watch, frame, "last_io") == 0.0
    watch.look(written=1, holder="bareos-sd")
    frame = watch.look(holder="bareos-sd")
    assert (ago(watch, frame, "held_since"), ago(watch, frame, "last_io")) == (30.0, 30.0)
    assert ago(watch, watch.look(), "held_since") is None


def test_when_its_pages_were_last_read_is_told_while_it_is_held() -> None:
    watch = Watch()
    assert ago(watch, watch.look(holder="bareos-sd"), "last_read") is None
    watch.book.of("DRV0001").looked_at = NOON
    frame = watch.look(holder="bareos-sd")
    assert ago(watch, frame, "last_read") == watch.clock.wall() - NOON


def test_a_restart_begins_no_new_history() -> None:
    watch, after = Watch(), Watch()
    watch.look(written=5, holder="bareos-sd")
    watch.look(holder="bareos-sd")
    after.probe.restore(watch.probe.to_plain())
    after.clock.forward(60)
    after.written = 5
    frame = after.look(holder="bareos-sd")
    assert (ago(after, frame, "held_since"), ago(after, frame, "last_io")) == (60.0, 60.0)
    assert values(frame, "tape_drive_stream_bytes_per_second") == {}


@pytest.mark.parametrize(
    "kept", [None, [], {"streams": 7}, {"devices": 3, "streams": {"DRV0001": {"io_at": "x"}}}]
)
def test_what_was_not_kept_by_us_is_left_out(kept: object) -> None:
    watch = Watch()
    watch.probe.restore(kept)
    assert ago(watch, watch.look(), "last_io") == 0.0


@given(looks=st.lists(st.dictionaries(st.sampled_from(["write_byte_cnt", "x"]), st.integers(0))))
def test_no_statistics_make_a_rate_that_cannot_be(looks: list[dict[str, int]]) -> None:
    stream = Stream()
    for second, found in enumerate(looks):
        stream.take(found, is_held=False, lowest=100, wall=NOON, monotonic=float(second // 2))
        assert all(rate > 0 for rate in (stream.rates or {}).values())
        assert 0 <= stream.slow_s <= stream.writing_s <= len(looks)
