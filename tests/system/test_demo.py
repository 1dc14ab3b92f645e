"""`packaging/dev demo`: the product on an emulated appliance, played fast."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from lab.demo_play import LEFT_OUT, NEED_ROOT
from lab.demo_rules import FASTER, faster
from storewatch import PlainClient
from storewatchd.core.rules import load
from storewatchd.rule_files import built_in_files
from system.appliance import BIN, free_port, wait_for
from system.test_dev import ROOT, Clone

pytestmark = pytest.mark.timeout(120)  # real programs start, and play

NEEDS_ROOT = {"StorageCapacityWarning", "StorageCapacityCritical"}
PLAYED_FILES = ("scst.yml", "tape.yml", "vtl.yml", "boot.yml")

USER = 65534  # nobody
AS_USER = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--")


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return whole_clone(tmp_path / "clone")


def whole_clone(top: Path) -> Clone:
    clone = Clone(top)
    (clone.top / "tests").symlink_to(ROOT / "tests")
    for name in ("lib", "pyvenv.cfg"):
        (clone.top / ".venv" / name).symlink_to(BIN.parent / name)
    return clone


@pytest.fixture
def users_clone() -> Iterator[Clone]:
    """A clone that belongs to an ordinary user."""
    if os.geteuid() != 0:
        pytest.skip("becoming another user needs root")
    if subprocess.run([*AS_USER, "test", "-r", ROOT / "setup.cfg", "-a", "-x", BIN]).returncode:
        pytest.skip("an ordinary user cannot reach this checkout")
    # pytest closes its base directory to others.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        os.chmod(directory, 0o755)
        clone = whole_clone(Path(directory) / "clone")
        for path in (clone.top, clone.top / ".venv"):
            os.chown(path, USER, USER)
        yield clone


@contextmanager
def demonstration(
    clone: Clone, *words: str, before: Iterable[str] = ()
) -> Iterator[subprocess.Popen[str]]:
    """Run it, from when it says where it is on."""
    with subprocess.Popen(
        [*before, "packaging/dev", "demo", "--port", str(free_port()), *words],
        cwd=clone.top,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            wait_for("its start", lambda: clone.env.exists() or process.poll() is not None)
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.communicate(timeout=30)


def told(clone: Clone) -> dict[str, str]:
    """Return what it wrote for others to source."""
    return dict(line.split("=", 1) for line in clone.env.read_text().splitlines())


async def events(where: dict[str, str]) -> list[dict[str, Any]]:
    """Return everything that was told, and then what the WebSocket tells until it ends."""
    with PlainClient(where["STOREWATCH_SOCKET"]) as client:
        before = client.call("events.list", {"limit": 1000})["events"]
    since = f"&since={before[-1]['id']}" if before else ""
    url = f"{where['STOREWATCH_URL']}/api/v1/monitoring/events?types=alert,tape,vtl{since}"
    headers = {"Authorization": f"Bearer {where['STOREWATCH_TOKEN']}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.ws_connect(url) as connection,
    ):
        return [*before, *[json.loads(message.data) async for message in connection]]


def shipped() -> set[str]:
    """Return the alerts that ship of SCST, tapes, virtual libraries and the next start."""
    rules, problems = load([file for file in built_in_files() if file.path in PLAYED_FILES])
    assert problems == []
    return {rule.name for rule in rules if rule.kind == "alert"}


def test_what_is_left_out_of_the_play_ships_and_has_its_reason() -> None:
    assert shipped() >= {*LEFT_OUT, *NEED_ROOT}
    assert all(LEFT_OUT.values())
    assert not NEED_ROOT.intersection(LEFT_OUT)


def test_rules_are_faster_and_otherwise_what_ships() -> None:
    text = (
        "      - alert: A\n        expr: rate(a[10m]) > 0 and b offset 1m > 0\n"
        "        for: 15m\n        keep_firing_for: 24h\n        summary: within 10 minutes\n"
    )
    assert faster(text, 20) == (
        "      - alert: A\n        expr: rate(a[30s]) > 0 and b offset 3s > 0\n"
        "        for: 45s\n        keep_firing_for: 4320s\n        summary: within 10 minutes\n"
    )
    assert faster(text, 1) == text.replace("10m]", "600s]").replace(
        "offset 1m", "offset 60s"
    ).replace("for: 15m", "for: 900s").replace("24h", "86400s")
    fast, problems = load(
        [replace(file, text=faster(file.text, FASTER)) for file in built_in_files()]
    )
    assert problems == []
    kept, _ = load(built_in_files())
    assert [rule.name for rule in fast] == [rule.name for rule in kept]


def test_the_trouble_that_is_played_fires_and_ends_and_nothing_is_left(clone: Clone) -> None:
    with demonstration(clone, "--once", "--speed", "10") as process:
        where = told(clone)
        heard = asyncio.run(events(where))
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 0, said
    assert "Still there: " not in said or "`storewatchctl alerts show ID` says why" in said
    is_root = os.geteuid() == 0
    fired, ended = rules(heard, "firing"), rules(heard, "resolved")
    assert {*shipped(), "TaskFailed", "ProbeBlind"} - {*fired, *LEFT_OUT} <= (
        set() if is_root else NEED_ROOT
    ), said
    wanted = {"TaskFailed", "ProbeBlind", "ScstSuspended", "VtlHalfUp", "LibraryOffline"}
    assert ended >= {*wanted, *(NEEDS_ROOT if is_root else ())}, said
    (hang,) = {one for one in titles(heard, "VtlStopHangs") if "has not come to an end" in one}
    assert not re.search(r" \d+[dh] ", hang), "it counts from the stop, and not from the start"
    kinds = [one["kind"] for one in heard if one["type"] in ("tape", "vtl")]
    assert {"loaded", "unloaded", "tapealert", "unit_attention"} <= set(kinds)
    assert {"unit_stopped", "unit_started", "device_vanished", "device_appeared"} <= set(kinds)
    # The library showed itself empty, and was not believed.
    removed = [one["data"]["barcode"] for one in heard if one["kind"] == "cartridge_removed"]
    assert set(removed) <= {"MAIL01L8", "MAIL02L8", "LAB007L8"}
    assert_nothing_left(clone, where)


def test_ctrl_c_ends_it_and_removes_what_it_made(clone: Clone) -> None:
    with demonstration(clone) as process:
        where = told(clone)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 0, said
    assert where["STOREWATCH_TOKEN"] in said
    assert_nothing_left(clone, where)


def test_an_ordinary_user_sees_all_but_what_needs_root_and_is_told_what(users_clone: Clone) -> None:
    clone = users_clone
    # Where /tmp is not for everybody, $TMPDIR is.
    before = (*AS_USER, "env", f"TMPDIR={clone.top}")
    with demonstration(clone, "--once", "--speed", "10", before=before) as process:
        where = told(clone)
        heard = asyncio.run(events(where))
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 0, said
    assert "Left out, as mounting small file systems needs root" in said
    assert shipped() - {*rules(heard, "firing"), *LEFT_OUT} <= NEED_ROOT, said
    assert rules(heard, "resolved") >= {"TaskFailed", "ProbeBlind"}, said
    assert_nothing_left(clone, where)


def test_a_second_one_says_that_one_runs_and_leaves_it_alone(clone: Clone) -> None:
    with demonstration(clone) as first:
        where = told(clone)
        second = clone.dev("demo", "--port", str(free_port()))
        assert (second.returncode, second.stdout) == (1, "")
        assert "Storewatch runs already from this directory (pid " in second.stderr
        assert told(clone) == where
        assert first.poll() is None
    assert_nothing_left(clone, where)


def test_a_port_that_is_taken_is_told(clone: Clone) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        done = clone.dev("demo", "--port", str(number))
    said = f"storewatch: port {number} is taken: choose another with --port N\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_words_that_are_wrong_are_told(clone: Clone) -> None:
    done = clone.dev("demo", "--speed", "fast")
    assert done.returncode == 2
    assert "--speed: expected a number from 0.1 to 100, found 'fast'" in done.stderr


def rules(heard: list[dict[str, Any]], kind: str) -> set[str]:
    return {one["data"]["rule"] for one in heard if one["type"] == "alert" and one["kind"] == kind}


def titles(heard: list[dict[str, Any]], rule: str) -> set[str]:
    """Return how the alerts of a rule were called when they fired."""
    return {
        one["data"]["title"]
        for one in heard
        if one["type"] == "alert" and one["kind"] == "firing" and one["data"]["rule"] == rule
    }


def assert_nothing_left(clone: Clone, where: dict[str, str]) -> None:
    directory = Path(where["STOREWATCH_SOCKET"]).parent.parent
    assert directory.name.startswith("storewatch-demo-")
    assert not directory.exists()
    assert str(directory) not in Path("/proc/self/mountinfo").read_text()
    assert not clone.env.exists()
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert str(directory) not in process.read_text(), process
        except OSError:
            continue  # it has ended meanwhile
