"""The units under a real systemd: start, states, journal fields, reload, watchdog, stop."""

import json
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.systemd_box import SystemdBox
from system.appliance import wait_for

TOP = Path(__file__).parents[2]
HOME = "/usr/lib/storewatch"

# Booting and a first cluster take seconds; nothing below waits longer than it has to.
pytestmark = pytest.mark.timeout(120)

PROGRAM = """#!{python}
import sys
sys.path[:0] = ["{home}/site-packages", "{home}/daemon", "{home}/client"]
from {package}.__main__ import main
sys.exit(main())
"""

PROGRAMS = {
    "storewatchd": "storewatchd",
    "storewatch-reader": "storewatch_reader",
    "storewatch-web": "storewatch_web",
    "storewatchctl": "storewatch.ctl",
}


@pytest.fixture(scope="module")
def box() -> Iterator[SystemdBox]:
    with booted({}) as box:
        yield box


@contextmanager
def booted(more: Mapping[str, str]) -> Iterator[SystemdBox]:
    """Boot a system with our programs and units, nothing started yet, and these files besides."""
    python = Path(sys._base_executable).resolve()  # type: ignore[attr-defined]
    files = {
        f"{HOME}/bin/{name}": PROGRAM.format(python=python, home=HOME, package=package)
        for name, package in PROGRAMS.items()
    }
    for unit in [*(TOP / "systemd").glob("*.service"), *(TOP / "systemd").glob("*.socket")]:
        files[f"/etc/systemd/system/{unit.name}"] = unit.read_text()
    sysusers = (TOP / "systemd" / "storewatch.sysusers.conf").read_text()
    files["/usr/lib/sysusers.d/storewatch.conf"] = sysusers
    # Three bites of the watchdog within a test, not within minutes.
    drop_in = "/etc/systemd/system/storewatchd.service.d/test.conf"
    files[drop_in] = "[Service]\nWatchdogSec=2\n"
    files |= more
    binds = {
        Path(sysconfig.get_paths()["platlib"]): f"{HOME}/site-packages",
        TOP / "daemon": f"{HOME}/daemon",
        TOP / "client": f"{HOME}/client",
    }
    with SystemdBox(files, binds) as box:
        # The box begins as a copy of this machine, whose own settings are none of its business.
        box.run("rm", "-rf", "/etc/storewatch")
        box.run("systemd-sysusers")
        yield box


@pytest.fixture(scope="module")
def started(box: SystemdBox) -> SystemdBox:
    box.run("systemctl", "start", "storewatch-reader.socket", "storewatchd", "storewatch-web")
    return box


def open_alerts(box: SystemdBox) -> list[tuple[str, int]]:
    """Ids and versions: what was last seen when changes from look to look."""
    return [(one["id"], one["version"]) for one in ctl(box, "alerts", "list")["alerts"]]


def ctl(box: SystemdBox, *words: str) -> Any:
    return json.loads(box.run(f"{HOME}/bin/storewatchctl", "--json", *words).stdout)


def test_systemd_finds_nothing_wrong_with_the_units(box: SystemdBox) -> None:
    units = sorted(
        f"/etc/systemd/system/{path.name}"
        for pattern in ("*.service", "*.socket")
        for path in (TOP / "systemd").glob(pattern)
    )
    done = box.run("systemd-analyze", "verify", "--man=no", *units)
    assert "storewatch" not in done.stdout + done.stderr


def test_active_means_ready_and_the_status_is_a_sentence(started: SystemdBox) -> None:
    assert started.show("storewatchd", "ActiveState") == "active"
    assert ctl(started, "status")["ready"] is True
    wait_for(
        "a status sentence",
        lambda: started.show("storewatchd", "StatusText").startswith("watching 1 repository"),
    )


def test_the_daemon_has_no_privilege_and_the_reader_looks_for_it(started: SystemdBox) -> None:
    pid = started.show("storewatchd", "MainPID")
    capabilities = started.run("grep", "CapEff", f"/proc/{pid}/status").stdout.split()
    assert (started.show("storewatchd", "User"), capabilities[1]) == ("storewatch", "0" * 16)
    assert started.show("storewatch-reader", "ActiveState") == "active"
    # The reader's own sandbox is read-only; the machine's root is not.
    seen = wait_for(
        "a look through the reader",
        lambda: ctl(started, "metrics", "--query", "repo_readonly")["rows"],
    )
    assert [one["value"] for one in seen] == [0]


def test_postgresql_runs_as_the_daemons_user(started: SystemdBox) -> None:
    wait_for("PostgreSQL", lambda: ctl(started, "status")["database"]["up"], within_s=30)
    owners = started.run("ps", "-C", "postgres", "-o", "user=").stdout.split()
    assert set(owners) <= {"storewatch", "storewat+"}  # ps shortens
    manager = "\n".join(started.journal("_PID=1"))
    assert "reception only permitted" not in manager


def test_an_alert_is_one_structured_entry_of_the_journal(started: SystemdBox) -> None:
    run = (f"{HOME}/bin/storewatchctl", "tasks", "run", "nightly", "--", "sh", "-c", "exit 3")
    assert started.run(*run, check=False).returncode == 3
    alert = wait_for("the alert", lambda: ctl(started, "alerts", "list")["alerts"] or None)[0]
    entries = wait_for(
        "the entry",
        lambda: started.journal("-u", "storewatchd", f"ALERT_ID={alert['id']}") or None,
    )
    (entry,) = map(json.loads, entries)
    assert (entry["RULE"], entry["SEVERITY"], entry["SOURCE"]) == ("TaskFailed", "warning", "task")
    assert (entry["ALERT_STATE"], entry["NODE"], entry["PRIORITY"]) == (
        "firing",
        alert["node"],
        "4",
    )
    assert len(entry["MESSAGE_ID"]) == 32
    assert entry["MESSAGE"].isprintable()
    assert alert["title"] in entry["MESSAGE"]


def test_a_stranger_may_ask_for_the_version_and_nothing_more(started: SystemdBox) -> None:
    asked = ("runuser", "-u", "nobody", "--", f"{HOME}/bin/storewatchctl")
    assert started.run(*asked, "version", check=False).returncode == 0
    refused = started.run(*asked, "alerts", "list", check=False)
    assert (refused.returncode, refused.stdout) == (4, "")
    assert "monitoring:read" in refused.stderr


def test_the_sidecar_serves_without_any_right_of_its_own(started: SystemdBox) -> None:
    done = started.run("curl", "-s", "http://127.0.0.1:8474/api/v1/health")
    assert json.loads(done.stdout)["status"] in ("healthy", "degraded")
    refused = started.run(
        "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1:8474/metrics"
    )
    assert refused.stdout == "401"


def test_reload_is_all_or_nothing(started: SystemdBox) -> None:
    settings = "/etc/storewatch/storewatch.toml"
    started.run("mkdir", "-p", "/etc/storewatch")
    started.run("sh", "-c", f"echo 'nonsense = 1' > {settings}")
    started.run("systemctl", "reload", "storewatchd")
    wait_for(
        "the refusal",
        lambda: [
            entry
            for entry in map(json.loads, started.journal("-u", "storewatchd", "PRIORITY=3"))
            if "nothing was reloaded" in entry["MESSAGE"] and "nonsense" in entry["MESSAGE"]
        ],
    )
    started.run("sh", "-c", f"echo '[probes]\ninterval = \"20s\"' > {settings}")
    started.run("systemctl", "reload", "storewatchd")
    wait_for(
        "the new interval",
        lambda: (
            {one["interval_seconds"] for one in ctl(started, "probes", "list")["probes"]} == {20}
        ),
    )
    assert started.show("storewatchd", "ActiveState") == "active"


def test_a_hang_is_bitten_by_the_watchdog_and_the_alert_survives(started: SystemdBox) -> None:
    before = open_alerts(started)
    pid = started.show("storewatchd", "MainPID")
    started.run("kill", "-STOP", pid)
    wait_for(
        "another process",
        lambda: started.show("storewatchd", "MainPID") not in ("0", pid),
        within_s=30,
    )
    wait_for("READY", lambda: started.show("storewatchd", "ActiveState") == "active", within_s=30)
    assert open_alerts(started) == before


def test_stop_is_clean_and_start_finds_everything(started: SystemdBox) -> None:
    before = open_alerts(started)
    started.run("systemctl", "stop", "storewatchd")
    assert started.show("storewatchd", "Result") == "success"
    assert started.run("pgrep", "-u", "storewatch", check=False).stdout == ""
    started.run("systemctl", "start", "storewatchd")
    assert open_alerts(started) == before
