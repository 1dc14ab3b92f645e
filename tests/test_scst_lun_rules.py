"""The rules of SCST about LUNs and what is behind them, on the real engine."""

from typing import Any

import pytest

from fix_scst_watch import HEALTHY, Watch
from probes.scst.fix_scst import ONE, TGT1, attributes, seen
from storewatch_reader.scst import LATENCY, QUEUED
from storewatchd.core.frames import Row
from storewatchd.core.model import Severity
from storewatchd.errors import ReadStuck


@pytest.fixture
def watch() -> Watch:
    watch = Watch()
    watch.look()
    return watch


# LUNs.


def test_a_hung_back_end_is_told_with_its_lun_and_file() -> None:
    watch = Watch("run1/15-backend-io-errors")
    watch.looks(4)
    fired = []
    for name in (
        *("run1/16-backend-hung-5s", "run1/16-backend-hung-5s"),
        *("run1/16-backend-hung-5s", "run1/16-backend-hung-5s", "run1/16-backend-hung-5s"),
    ):
        watch.be(name)
        fired.append("LunStuck" in watch.look())
    assert fired == [False, False, False, True, True]
    alert = watch.alert("LunStuck")
    assert (alert.severity, alert.resource_id) == (Severity.CRITICAL, "blk01")
    assert alert.title == f"LUN 2 of {TGT1} (blk01) does not answer {ONE}"
    assert "It lies at /dev/mapper/lab-lin0." in alert.message
    watch.be("run1/20-unstuck")
    assert "LunStuck" not in watch.look()


def test_commands_without_data_are_no_progress() -> None:
    watch = Watch("run1/15-backend-io-errors")
    watch.looks(4)
    place = f"targets/iscsi/{TGT1}/sessions/{ONE}_1/none_cmd_count"
    for count in range(5):
        watch.be("run1/16-backend-hung-5s", **{place: f"{1000 + count}\n".encode()})
        watch.look()
    assert "LunStuck" in watch.firing()


def test_a_lun_that_is_busy_and_gets_on_is_not_stuck() -> None:
    watch = Watch("run1/15-backend-io-errors")
    place = f"targets/iscsi/{TGT1}/sessions/{ONE}_1/read_cmd_count"
    for count in range(20):
        watch.be("run1/16-backend-hung-5s", **{place: f"{20000 + count}\n".encode()})
        assert "LunStuck" not in watch.look()


def test_a_lun_that_is_stuck_beside_others_that_work_is_told_by_the_age_of_its_command() -> None:
    watch = Watch("run1/15-backend-io-errors")
    place = f"targets/iscsi/{TGT1}/sessions/{ONE}_1/read_cmd_count"
    trace = attributes("run1/16-backend-hung-5s", QUEUED)["trace_cmds"]
    assert isinstance(trace, bytes)
    old = trace.replace(b"proc time 8 sec", b"proc time 68 sec")
    fired = []
    for count in range(14):
        changes: dict[str, bytes | int] = {place: f"{20000 + count}\n".encode()}
        watch.be("run1/16-backend-hung-5s", **changes, trace_cmds=old)
        fired.append("LunStuck" in watch.look())
    assert fired.index(True) <= 11  # the list of commands is read every 5 minutes
    assert watch.alert("LunStuck").resource_id == "blk01"


def test_a_lun_that_waits_because_its_device_is_blocked_is_not_stuck_too() -> None:
    watch = Watch("run1/15-backend-io-errors")
    for _ in range(6):
        watch.be("run1/17-device-blocked")
        watch.look()
    assert [one.resource_id for one in watch.open() if one.rule == "LunStuck"] == ["blk01"]
    assert watch.alert("LunBlocked").resource_id == "disk02"


def test_when_all_is_suspended_no_lun_is_stuck() -> None:
    watch = Watch("run1/15-backend-io-errors")
    for _ in range(8):
        watch.be("run1/16-backend-hung-5s", suspend=b"1\n")
        watch.look()
    assert "LunStuck" not in watch.firing()
    assert "ScstSuspended" in watch.firing()


def test_a_tape_may_take_twenty_minutes() -> None:
    tape = "run5/scst-tree"
    place = next(path for path in attributes(tape) if path.endswith("lun1/active_commands"))
    watch = Watch(tape)
    watch.look()
    fired = []
    for _ in range(45):
        watch.be(tape, **{place: b"1\n"})
        fired.append("LunStuck" in watch.look())
    assert 40 <= fired.index(True) <= 43


GONE = "/var/lab/disk02.img"


def put(watch: Watch, **facts: Any) -> None:
    watch.files[GONE] = facts
    watch.be()


def test_a_file_that_was_deleted_is_told(watch: Watch) -> None:
    put(watch, exists=False)
    fired = watch.looks(6)
    assert fired[-1] == ["LunBackingMissing"]
    assert fired.index(["LunBackingMissing"]) <= 5  # looked at every two minutes
    assert watch.alert("LunBackingMissing").title == (
        f"{GONE} is gone, where the device disk02 has its data"
    )
    watch.files.clear()
    watch.be()
    assert watch.looks(5)[-1] == []


def test_a_file_that_was_cut_off_is_told(watch: Watch) -> None:
    size = next(one.size_bytes for one in seen(HEALTHY).devices if one.name == "disk02")
    assert size is not None
    put(watch, exists=True, kind="file", size=size - (1 << 20))
    watch.looks(6)
    alert = watch.alert("LunBackingMissing")
    assert alert.title == "The device disk02 is 1MiB larger than its data"
    assert f"{GONE} was cut off after SCST opened it." in alert.message


def test_a_file_that_has_grown_is_told_softly(watch: Watch) -> None:
    size = next(one.size_bytes for one in seen(HEALTHY).devices if one.name == "disk02")
    assert size is not None
    put(watch, exists=True, kind="file", size=size + (16 << 20))
    watch.looks(26)
    assert watch.firing() == ["LunSizeOutdated"]
    alert = watch.alert("LunSizeOutdated")
    assert (alert.severity, alert.resource_id) == (Severity.INFO, "disk02")
    assert "has grown by 16MiB" in alert.title


def test_an_inactive_device_whose_file_is_gone_is_told_once(watch: Watch) -> None:
    put(watch, exists=False)
    watch.looks(6)
    watch.be(HEALTHY, **{"devices/disk02/active": b"0\n"})
    assert watch.looks(3)[-1] == ["LunBackingMissing"]


def test_what_lies_on_a_hung_mount_stays_as_it_was(watch: Watch) -> None:
    put(watch, exists=False)
    watch.looks(6)
    stuck = ReadStuck("it has not answered", key=f"file.size:{GONE}", since=0.0)
    watch.appliance.readings["file.size", GONE] = stuck
    assert watch.looks(8)[-1] == ["LunBackingMissing"]
    assert watch.alert("LunBackingMissing").stale_since is not None


def test_errors_of_back_ends_are_told_for_an_hour() -> None:
    watch = Watch()
    watch.appliance.tell("io", "io")  # before anybody looked
    assert watch.looks(25) == [[]] * 25
    watch.appliance.tell("io", "other", "connection")
    assert watch.looks(2)[-1] == ["LunBackendErrors"]
    assert watch.alert("LunBackendErrors").severity is Severity.CRITICAL
    quiet = watch.looks(150)
    assert 120 <= quiet.index([]) <= 142, "an hour, after ten minutes"


@pytest.mark.parametrize("kind", ["other", "connection", "timeout", "event_lost"])
def test_other_errors_in_the_log_are_none_of_back_ends(watch: Watch, kind: str) -> None:
    watch.looks(25)
    watch.appliance.tell(kind)
    assert watch.looks(5) == [[]] * 5


# Data integrity.


def test_damaged_data_is_told_for_a_day() -> None:
    watch = Watch(max_age_s=3600)

    def errors(count: int) -> None:
        table = b"\tapp\tref\tguard\ntgt\t0\t0\t%d\nscst\t0\t0\t0\ndev\t0\t0\t0\n" % count
        queued: dict[str, bytes | int] = dict(attributes(HEALTHY, QUEUED))
        queued[f"targets/iscsi/{TGT1}/sessions/{ONE}/dif_checks_failed"] = table
        watch.appliance.readings["scst.queued", ""] = queued

    errors(7)
    assert watch.looks(50)[-1] == []  # they happened before anybody looked
    errors(8)
    assert watch.looks(12)[-1] == ["DifErrors"]
    alert = watch.alert("DifErrors")
    assert alert.title == f"Data of {ONE} at {TGT1} was damaged on its way"
    assert "(guard tag) failed where it comes in: the host" in alert.message
    fired = [watch.look(600) for _ in range(150)]
    assert 144 <= fired.index([]) <= 147


# Latency.


def disks(seconds: float, *, await_s: float, iops: float, rotational: str) -> dict[str, list[Row]]:
    requests = seconds * iops
    disk = ("dm-0",)
    return {
        "node_disk_reads_completed_total": [Row(disk, requests)],
        "node_disk_writes_completed_total": [Row(disk, 0.0)],
        "node_disk_read_time_seconds_total": [Row(disk, requests * await_s)],
        "node_disk_write_time_seconds_total": [Row(disk, 0.0)],
        "node_disk_info": [Row((*disk, "", "", "", rotational), 1.0)],
    }


@pytest.mark.parametrize(
    ("await_s", "iops", "rotational", "fires"),
    [
        pytest.param(0.060, 100, "1", ["LunLatencyHigh"], id="slow for a disk"),
        pytest.param(0.030, 100, "1", [], id="good for a disk"),
        pytest.param(0.030, 100, "0", ["LunLatencyHigh"], id="slow for an ssd"),
        pytest.param(0.005, 100, "0", [], id="good for an ssd"),
        pytest.param(0.060, 5, "1", [], id="hardly used"),
        pytest.param(0.700, 100, "1", ["LunLatencyCritical", "LunLatencyHigh"], id="very slow"),
    ],
)
def test_a_slow_disk_behind_a_device_is_told(
    await_s: float, iops: float, rotational: str, fires: list[str]
) -> None:
    watch = Watch()
    facts = {"exists": True, "kind": "block", "size": 128 << 20, "disk": "dm-0"}
    watch.files["/dev/mapper/lab-lin0"] = facts
    watch.be()
    for look in range(26):
        watch.disks = disks(look * 30, await_s=await_s, iops=iops, rotational=rotational)
        watch.look()
    assert watch.firing() == fires
    if fires == ["LunLatencyHigh"]:
        title = watch.alert("LunLatencyHigh").title
        assert title == f"The disk dm-0 takes {await_s * 1000:.0f}ms for a request, behind blk01"


def test_a_slow_disk_that_scst_does_not_use_is_no_matter() -> None:
    watch = Watch()
    for look in range(26):
        watch.disks = disks(look * 30, await_s=1.0, iops=100, rotational="1")
        assert watch.look() == []


MEASURED = "run1/10-during-io-measure_latency"


def waits(watch: Watch, *, count: int, average_ms: float) -> None:
    """Have the reads of a session have waited for the back end."""
    place = f"targets/iscsi/{TGT1}/sessions/{ONE}/latency/r4096"
    us = f"{average_ms * 1000:.1f}"
    lines = "".join(
        f"{stage} {count} 0.1 {us} {average} 0.3 us\n"
        for stage, average in (("EXEC_WAIT", us), ("total", f"{average_ms * 1250:.1f}"))
    )
    tables = dict(attributes(MEASURED, LATENCY))
    tables[place] = f"state count min max avg stddev\n{lines}".encode()
    watch.appliance.readings["scst.latency", ""] = tables


@pytest.mark.parametrize(
    ("average_ms", "iops", "fires"),
    [
        pytest.param(80, 50, {"LunLatencyHigh"}, id="slow"),
        pytest.param(20, 50, set(), id="good"),
        pytest.param(80, 5, set(), id="hardly used"),
        pytest.param(900, 50, {"LunLatencyHigh", "LunLatencyCritical"}, id="very slow"),
    ],
)
def test_commands_that_wait_for_the_back_end_are_told_where_that_is_measured(
    average_ms: float, iops: int, fires: set[str]
) -> None:
    watch = Watch(MEASURED)
    for look in range(40):
        waits(watch, count=100 + 30 * iops * look, average_ms=average_ms)
        watch.look()
    told = {one.rule for one in watch.open() if one.resource_id == ONE}
    assert told & {"LunLatencyHigh", "LunLatencyCritical"} == fires
    if fires == {"LunLatencyHigh"}:
        alert = watch.alert("LunLatencyHigh")
        assert alert.title == f"Commands of {ONE} at {TGT1} wait 80ms for the back end"
        assert "Of the time that its commands take, 80% is that wait" in alert.message
