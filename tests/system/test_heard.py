"""What the kernel tells is heard at once under the real programs, long before anything is due."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import scst_events
from lab.scst_events import ScstEventDevice
from system.appliance import Appliance, wait_for

pytestmark = [
    pytest.mark.timeout(90),  # real programs start
    pytest.mark.skipif(os.geteuid() != 0, reason="writes to /dev/kmsg and to sysfs"),
]

TARGET = "iqn.2026-01.example:disk1"
ESX = "iqn.1998-01.com.vmware:esx07"

WITHIN_S = 1.0
"""What is promised from a fault to the alert, where the kernel tells."""

TOUCHED_S = 1.0
"""How long a probe rests after a look: what is promised holds from rest."""

LOOP = Path("/sys/block/loop0/uevent")

RULES = """
groups:
  - name: drill
    rules:
      - alert: LogSpeaksOfDisks
        expr: kernel_log_matches_total{pattern="io_error"} > 0
"""


@pytest.fixture
def device(tmp_path: Path) -> Iterator[ScstEventDevice]:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "kmsg").symlink_to("/dev/kmsg")
    with ScstEventDevice(tmp_path / "dev") as device:
        yield device


@pytest.fixture
def heard(
    appliance: Appliance, device: ScstEventDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Appliance:
    """A daemon that looks by itself once in ten minutes only, and a reader that can hear."""
    appliance.configure(interval_s=600, more='[database]\nkind = "none"')
    (appliance.rules / "drill.yml").write_text(RULES)
    with monkeypatch.context() as patch:
        patch.setenv("LD_PRELOAD", os.fspath(scst_events.shim()))
        appliance.start_reader("--dev", os.fspath(tmp_path / "dev"))
    appliance.start()
    wait_for("SCST's events", lambda: value(appliance, "scst_event_reader_up") == 1)
    wait_for("the log", lambda: value(appliance, "kernel_log_lost_total") == 0)
    # Whatever was looked at because of that rests by now, and the second look of all is over.
    time.sleep(2 * TOUCHED_S)
    return appliance


def value(appliance: Appliance, expr: str) -> float | None:
    """Return the value of an expression that is known and has one row; else None."""
    rows = appliance.call("metrics.query", expr=expr)["rows"]
    found = [one for one in rows if one["state"] == "exact"]
    return float(found[0]["value"]) if len(found) == 1 else None


def alert(appliance: Appliance, rule: str) -> dict[str, Any] | None:
    alerts: list[dict[str, Any]] = appliance.call("alerts.list", state=["firing"])["alerts"]
    return next((one for one in alerts if one["rule"] == rule), None)


def events(appliance: Appliance, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = appliance.call("events.list")["events"]
    return [one for one in found if one["kind"] == kind]


def last_look(appliance: Appliance, probe: str) -> str:
    (found,) = appliance.call("probes.list", probe=probe)["probes"]
    return str(found["last_run"])


def log(line: str) -> None:
    with open("/dev/kmsg", "w") as kmsg:
        kmsg.write(f"<6>{line}\n")


def test_a_reset_is_an_alert_and_an_event_at_once(
    heard: Appliance, device: ScstEventDevice
) -> None:
    assert device.allowed == [f"{code} SCST core" for code in (1, 2, 4, 6)]
    began = time.monotonic()
    device.say(
        scst_events.task_management(0, ESX, TARGET, lun=3, device="disk1", tag=9, cdb=b"\x8a"),
        scst_events.task_management(4, ESX, TARGET, lun=3, device="disk1"),
    )
    found = wait_for("the alert", lambda: alert(heard, "InitiatorResetting"))
    assert time.monotonic() - began < WITHIN_S
    assert found["severity"] == "critical"
    told = [one["data"] for one in events(heard, "task_management")]
    assert [(one["function"], one.get("command")) for one in told] == [
        ("abort_task", "WRITE(16)"),
        ("lun_reset", None),
    ]


def test_a_line_of_the_kernels_log_is_an_alert_and_an_event_at_once(heard: Appliance) -> None:
    began = time.monotonic()
    log("I/O error, dev sdzz, sector 0 op 0x0:(READ) (a drill)")
    wait_for("the alert", lambda: alert(heard, "LogSpeaksOfDisks"))
    assert time.monotonic() - began < WITHIN_S
    (told,) = [
        one["data"]
        for one in events(heard, "kernel_message")
        if "a drill" in one["data"]["message"]
    ]
    assert told["pattern"] == "io_error"


@pytest.mark.skipif(not LOOP.exists(), reason="this kernel has no loop devices")
def test_a_device_that_changes_is_looked_at_at_once(heard: Appliance) -> None:
    before = last_look(heard, "block")
    began = time.monotonic()
    LOOP.write_text("change")
    wait_for("the look", lambda: last_look(heard, "block") != before)
    assert time.monotonic() - began < WITHIN_S


def test_another_reader_is_listened_to_when_the_first_is_gone(heard: Appliance) -> None:
    assert heard.reader is not None
    heard.reader.terminate()
    heard.reader.wait()
    # The daemon starts one of its own, which has the machine's /dev: there is no SCST in it.
    wait_for("its absence", lambda: value(heard, "scst_event_reader_up") is None)
    wait_for("the log", lambda: value(heard, "kernel_log_lost_total") is not None)
    log("I/O error, dev sdzz, sector 0 op 0x0:(READ) (another drill)")
    wait_for("the alert", lambda: alert(heard, "LogSpeaksOfDisks"))
