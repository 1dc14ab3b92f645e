"""What the reader tells of units and of a planned start, under a real systemd."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.systemd_box import SystemdBox
from system.appliance import wait_for

TOP = Path(__file__).parents[2]

# Booting takes seconds; nothing below waits longer than it has to.
pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(os.geteuid() != 0, reason="booting a systemd needs root"),
]

# As mhvtl 1.8.0 has it, but for what is started, and how it is told to stop.
UNIT = """\
[Service]
Type=simple
ExecStart=/usr/bin/vtltape -F -q%i -v1
ExecStop=/bin/sh -c 'test ! -e /run/stop-hangs || exec sleep 600'
KillMode=none
"""
DAEMON = "#!/bin/sh\nwhile :; do sleep 600; done\n"
ASK = (
    "import json, sys; sys.path.insert(0, '/reader');"
    "from storewatch_reader import boot, vtl; from storewatch_reader.roots import Roots;"
    "asked = (vtl.units, vtl.daemons, boot.reboot);"
    "print(json.dumps([one(Roots(), '') for one in asked]))"
)


@pytest.fixture(scope="module")
def box() -> Iterator[SystemdBox]:
    files = {"/etc/systemd/system/vtltape@.service": UNIT, "/usr/bin/vtltape": DAEMON}
    with SystemdBox(files, {TOP / "daemon": "/reader"}) as box:
        yield box
        # What outlives its unit, or holds up its stop, would hold up the end of the box.
        for drive in range(11, 15):
            box.run("systemctl", "kill", "--signal=KILL", f"vtltape@{drive}", check=False)


def ask(box: SystemdBox) -> list[dict[str, Any]]:
    python = os.fspath(Path(sys._base_executable).resolve())  # type: ignore[attr-defined]
    answers: list[dict[str, Any]] = json.loads(box.run(python, "-c", ASK).stdout)
    return answers


def told(box: SystemdBox, drive: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return what is told of a drive: its unit, and its daemons."""
    units, daemons, _ = ask(box)
    assert units["is_known"]
    (unit,) = [one for one in units["units"] if one["unit"] == drive]
    return unit, [one for one in daemons["daemons"] if one["unit"] == drive]


def test_a_unit_that_is_active_has_its_daemon(box: SystemdBox) -> None:
    box.run("systemctl", "start", "vtltape@11")
    unit, (daemon,) = told(box, 11)
    assert (unit["name"], unit["state"], unit["sub_state"]) == ("vtltape", "active", "running")
    assert unit["left_s"] is None
    assert (daemon["name"], daemon["service"]) == ("vtltape", "vtltape@11.service")


def test_a_daemon_outlives_the_stop_of_its_unit(box: SystemdBox) -> None:
    box.run("systemctl", "start", "vtltape@12")
    box.run("systemctl", "stop", "vtltape@12")
    unit, (daemon,) = told(box, 12)
    assert (unit["state"], daemon["service"]) == ("inactive", "vtltape@12.service")
    assert 0 <= unit["left_s"] < 60


def test_a_stop_that_hangs_is_told_while_it_does(box: SystemdBox) -> None:
    box.run("systemctl", "start", "vtltape@13")
    box.run("touch", "/run/stop-hangs")
    box.run("systemctl", "stop", "--no-block", "vtltape@13")
    wait_for("the stop", lambda: told(box, 13)[0]["state"] == "deactivating")
    assert told(box, 13)[0]["left_s"] >= 0
    box.run("rm", "/run/stop-hangs")


def test_a_unit_whose_daemon_was_killed_has_failed(box: SystemdBox) -> None:
    box.run("systemctl", "start", "vtltape@14")
    box.run("kill", "-KILL", box.show("vtltape@14", "MainPID"))
    wait_for("the end", lambda: told(box, 14)[0]["state"] == "failed")
    unit, daemons = told(box, 14)
    assert (unit["result"], daemons) == ("signal", [])


def test_a_start_that_is_planned_is_told_until_it_is_called_off(box: SystemdBox) -> None:
    assert ask(box)[2]["at"] is None
    now = float(box.run("date", "+%s").stdout)
    # What `shutdown -r +60` asks of logind; a small system has no such program.
    manager = (
        "org.freedesktop.login1",
        "/org/freedesktop/login1",
        "org.freedesktop.login1.Manager",
    )
    at_us = str(int((now + 3600) * 1e6))
    box.run("busctl", "call", *manager, "ScheduleShutdown", "st", "reboot", at_us)
    planned = ask(box)[2]
    assert planned["mode"] == "reboot"
    assert 3500 < planned["at"] - now < 3700
    box.run("busctl", "call", *manager, "CancelScheduledShutdown")
    assert ask(box)[2]["at"] is None
