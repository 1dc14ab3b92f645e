"""Signals, settings and rule files: all or nothing, and a sentence for what is wrong."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from system.appliance import Appliance, wait_for

pytestmark = pytest.mark.timeout(60)  # real programs start

GOOD = """
groups:
  - name: mine
    rules:
      - alert: AlwaysTrue
        expr: node_memory_MemTotal_bytes > 0
        labels: {severity: info}
        annotations: {summary: "memory is there"}
"""
BAD = """
groups:
  - name: mine
    rules:
      - alert: Broken
        expr: sum(
"""


def check_config(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "storewatchd", "--check-config", *words],
        capture_output=True,
        text=True,
        check=False,
    )


def test_stop_is_prompt_and_leaves_no_process_behind(running: Appliance) -> None:
    running.wait_database()
    postgres = running.postgres_pid()
    assert running.stop() < 5
    assert not Path(f"/proc/{postgres}").exists()
    assert not running.socket.exists()
    assert "Traceback" not in running.log.read_text()


def test_a_reload_puts_new_rules_and_repositories_in_force(running: Appliance) -> None:
    (running.rules / "mine.yml").write_text(GOOD)
    running.configure(repositories={"root": "/"})
    assert running.daemon is not None
    running.daemon.send_signal(signal.SIGHUP)
    wait_for("the new rule", lambda: running.firing("AlwaysTrue"))
    wait_for(
        "the new repository",
        lambda: (
            [one["name"] for one in running.call("repositories.list")["repositories"]] == ["root"]
        ),
    )


def test_a_longer_interval_makes_nothing_overdue(appliance: Appliance) -> None:
    appliance.configure(repositories={"root": "/"})
    appliance.start()

    def status() -> str:
        (repository,) = appliance.call("repositories.list")["repositories"]
        return str(repository["status"])

    wait_for("sight", lambda: status() == "ok")
    appliance.configure(interval_s=60, repositories={"root": "/"})
    assert appliance.daemon is not None
    appliance.daemon.send_signal(signal.SIGHUP)
    wait_for("the reload", lambda: "reloaded" in appliance.log.read_text())
    uptime_s = appliance.call("daemon.status")["uptime_seconds"]
    seen = set()

    def looked_long_enough() -> bool:
        seen.add(status())
        now_s = appliance.call("daemon.status")["uptime_seconds"]
        return bool(now_s > uptime_s + 7)  # more than five of the shorter intervals

    wait_for("time", looked_long_enough)
    assert seen == {"ok"}


def test_a_wrong_rule_file_changes_nothing_and_is_named_with_its_place(running: Appliance) -> None:
    (running.rules / "mine.yml").write_text(GOOD)
    assert running.call("rules.reload")["valid"]
    (running.rules / "mine.yml").write_text(BAD)
    check = running.call("rules.reload")
    assert not check["valid"]
    (problem,) = check["problems"]
    assert problem["path"].endswith("mine.yml")
    assert (problem["line"], problem["column"]) == (6, 19)
    assert "AlwaysTrue" in [rule["name"] for rule in running.call("rules.list")["rules"]]
    assert running.daemon is not None
    running.daemon.send_signal(signal.SIGHUP)
    wait_for("the sentence", lambda: "nothing was reloaded" in running.log.read_text())
    assert running.is_up()


def test_a_mistyped_metric_is_told_wherever_the_rule_is_looked_at(running: Appliance) -> None:
    file = running.rules / "mine.yml"
    file.write_text(GOOD.replace("node_memory_MemTotal_bytes > 0", "nod_load5 > 0"))
    sentence = "no metric 'nod_load5' is known; did you mean node_load5?"
    validated = running.ctl("rules", "validate", str(file))
    assert validated.returncode == 0
    assert validated.stdout == f"{file}:6:15: warning: AlwaysTrue: {sentence}\n1 rule: right\n"
    running.ctl("rules", "reload")
    assert sentence in running.ctl("rules", "list").stdout
    assert sentence in running.ctl("metrics", "--query", "nod_load5").stderr
    assert sentence in check_config("--config", running.config).stdout
    assert running.daemon is not None
    running.daemon.send_signal(signal.SIGHUP)
    wait_for("the warning", lambda: f"AlwaysTrue: {sentence}" in running.log.read_text())


def test_a_rule_that_looks_back_before_the_start_says_so(running: Appliance) -> None:
    def state() -> str:
        (line,) = [
            line
            for line in running.ctl("rules", "list").stdout.splitlines()
            if "AlertStorm" in line
        ]
        return line

    wait_for("a look", lambda: "of the last 10m 0s self was seen for" in state())
    assert "usual so soon after a start" in state()


def test_wrong_settings_at_a_reload_leave_the_old_ones_in_force(running: Appliance) -> None:
    running.configure(more="[storrage]\n")
    assert running.daemon is not None
    running.daemon.send_signal(signal.SIGHUP)
    wait_for("the sentence", lambda: "storrage" in running.log.read_text())
    assert running.is_up()


CROWD = """
import socket, sys
held = []
for number in range(400):
    one = socket.socket(socket.AF_UNIX)
    one.connect(sys.argv[1])
    held.append(one)
held[-1].settimeout(10)
print(held[-1].recv(1000).decode(), flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_no_user_can_lock_the_others_out(running: Appliance) -> None:
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    with subprocess.Popen(
        [*as_nobody, "/usr/bin/python3", "-c", CROWD, str(running.socket)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as crowd:
        assert crowd.stdout is not None
        assert "connections of this user are open already" in crowd.stdout.readline()
        assert running.is_up()
        crowd.communicate("")


@pytest.mark.parametrize("what", ["a daemon", "a file", "a long path"])
def test_what_cannot_be_listened_on_is_told_in_one_sentence(
    appliance: Appliance, tmp_path: Path, what: str
) -> None:
    words = {"a daemon": "another daemon", "a file": "is no socket", "a long path": "at most 107"}
    path = tmp_path / ("x" * 120 if what == "a long path" else "s")
    held = socket.socket(socket.AF_UNIX)
    with held:
        if what == "a daemon":
            held.bind(str(path))
            held.listen()
        elif what == "a file":
            path.write_text("mine")
        appliance.configure(more=f'[control]\nsocket = "{path}"\n[database]\nkind = "none"')
        with pytest.raises(AssertionError, match="not ready"):
            appliance.start()
    log = appliance.log.read_text()
    assert words[what] in log
    assert "Traceback" not in log
    assert path.exists() is (what != "a long path")


def test_an_alert_whose_rule_is_gone_is_closed_with_that_reason(running: Appliance) -> None:
    (running.rules / "mine.yml").write_text(GOOD)
    running.call("rules.reload")
    alert = wait_for("the alert", lambda: running.firing("AlwaysTrue"))
    (running.rules / "mine.yml").unlink()
    running.call("rules.reload")
    closed = running.call("alerts.get", id=alert["id"])["alert"]
    assert closed["resolved_by"] == "the rule is no longer there"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("[databse]\n", "did you mean database?", id="section"),
        pytest.param("[probes]\nintervall = 3\n", "did you mean interval?", id="key"),
        pytest.param("[probes]\ninterval = true\n", "found true", id="type"),
        pytest.param('[database]\nkind = "oracle"\n', "one of embedded, external", id="choice"),
        pytest.param('[database]\nkind = "external"\n', "database.dsn", id="missing"),
        pytest.param("[probes\n", "expected TOML", id="syntax"),
        pytest.param('[daemon]\nstate_directory = "x"\n', "an absolute path", id="path"),
    ],
)
def test_wrong_settings_are_refused_with_file_key_expected_and_found(
    tmp_path: Path, text: str, words: str
) -> None:
    path = tmp_path / "storewatch.toml"
    path.write_text(text)
    done = check_config("--config", path)
    assert done.returncode == 1
    assert str(path) in done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_settings_file_is_named(tmp_path: Path) -> None:
    done = check_config("--config", tmp_path / "none.toml")
    assert done.returncode == 1
    assert "none.toml: expected a readable file" in done.stderr


def test_right_settings_are_said_to_be_right(appliance: Appliance) -> None:
    done = check_config("--config", appliance.config)
    assert done.returncode == 0
    assert done.stdout.startswith("the settings are right; ")
