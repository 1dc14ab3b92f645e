"""Every command against a peer that speaks the wire: what it asks, what it shows, how it ends."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fix_peer import Refusal, WirePeer, event
from fix_shapes import NOON, alert, alert_list, task, token
from storewatch import clock
from storewatch.ctl import words as shown
from storewatch.ctl.__main__ import main
from storewatch.wire import Code

Ctl = Callable[..., tuple[int, str, str]]


@pytest.fixture
def peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WirePeer]:
    monkeypatch.setenv("STOREWATCH_SOCKET", str(tmp_path / "s"))
    monkeypatch.setenv("STOREWATCH_SPOOL", str(tmp_path / "spool"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("STOREWATCH_TASK_ID", raising=False)
    with WirePeer(tmp_path / "s") as peer:
        yield peer


@pytest.fixture
def ctl(capfd: pytest.CaptureFixture[str]) -> Ctl:
    def run(*words: str) -> tuple[int, str, str]:
        status = main(words)
        return status, *capfd.readouterr()

    return run


def refusing(code: int, message: str) -> Callable[[Any], Any]:
    def refuse(_: Any) -> Any:
        raise Refusal(code, message)

    return refuse


# How a command ends.


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (Code.INVALID_PARAMS, 2),
        (Code.UNAUTHENTICATED, 4),
        (Code.FORBIDDEN, 4),
        (Code.NOT_FOUND, 5),
        (Code.CONFLICT, 1),
        (Code.UNAVAILABLE, 1),
        (Code.LIMIT_REACHED, 1),
        (Code.METHOD_NOT_FOUND, 1),
        (Code.INTERNAL_ERROR, 1),
        (-1, 1),
    ],
)
def test_an_error_of_the_daemon_is_one_sentence_and_an_exit_code(
    peer: WirePeer, ctl: Ctl, code: int, status: int
) -> None:
    peer.answers["health.get"] = refusing(code, "that cannot be done\nnow")
    ended, out, err = ctl("health")
    assert (ended, out) == (status, "")
    assert err.splitlines()[0] == "storewatchctl: that cannot be done now"
    assert all(line.startswith("hint: ") for line in err.splitlines()[1:])


def test_a_daemon_that_is_not_there_is_exit_3_with_the_socket_and_a_hint(
    tmp_path: Path, ctl: Ctl
) -> None:
    path = tmp_path / "none"
    status, out, err = ctl("--socket", str(path), "alerts", "list")
    assert (status, out) == (3, "")
    assert f"no daemon answers at {path}: no such file or directory" in err
    assert "hint: systemctl status storewatchd" in err


@pytest.mark.parametrize(
    ("code", "word"),
    [
        (Code.NOT_FOUND, "not_found"),
        (Code.CONFLICT, "conflict"),
        (Code.UNAVAILABLE, "unavailable"),
        (-1, "failed"),
    ],
)
def test_to_a_program_an_error_is_json_on_standard_error(
    peer: WirePeer, ctl: Ctl, code: int, word: str
) -> None:
    peer.answers["health.get"] = refusing(code, "that cannot be done")
    _, out, err = ctl("health", "--json")
    assert out == ""
    assert json.loads(err) == {"error": {"code": word, "message": "that cannot be done"}}


@pytest.mark.parametrize(
    ("words", "status", "word"),
    [
        pytest.param(["alerts", "list", "--limti", "1", "--json"], 2, "usage", id="option"),
        pytest.param(["--json", "alrts"], 2, "usage", id="command"),
        pytest.param(["--json", "--socket", "/none", "health"], 3, "unreachable", id="daemon"),
        pytest.param(["rules", "validate", "/no/file", "--json"], 1, "failed", id="file"),
    ],
)
def test_to_a_program_every_error_is_one_line_of_json(
    ctl: Ctl, words: list[str], status: int, word: str
) -> None:
    ended, out, err = ctl(*words)
    assert (ended, out, err.count("\n")) == (status, "", 1)
    error = json.loads(err)["error"]
    assert error["code"] == word
    assert error["message"]


def test_json_that_is_asked_of_another_program_changes_nothing(ctl: Ctl) -> None:
    _, _, err = ctl("tasks", "run", "", "--", "lsblk", "--json")
    assert err.startswith("storewatchctl: NAME is")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(["alrts"], "there is no command 'alrts': did you mean alerts?", id="command"),
        pytest.param(["alerts"], "missing command", id="no subcommand"),
        pytest.param(["alerts", "list", "--limti", "1"], "no such option", id="option"),
        pytest.param(["alerts", "list", "--limit", "0"], "0 is not in the range", id="range"),
        pytest.param(["alerts", "list", "--since", "soon"], "'soon' is no time", id="time"),
        pytest.param(
            ["alerts", "list", "--open", "--state", "firing"], "exclude each other", id="both"
        ),
        pytest.param(["alerts", "show"], "missing argument", id="argument"),
        pytest.param(
            ["alerts", "create", "--title", "x", "--source", "s"],
            "missing option '--severity': expected one of info, warning, critical",
            id="required",
        ),
        pytest.param(
            [
                *[
                    "alerts",
                    "create",
                    "--severity",
                    "info",
                    "--source",
                    "s",
                    "--title",
                    "t",
                    "--label",
                    "x",
                ]
            ],
            "'x' is not of the form NAME=VALUE",
            id="pair",
        ),
        *(
            pytest.param(
                [
                    *("alerts", "create", "--severity", "info", "--source", "s", "--title", "t"),
                    *(option, "a=1", option, "a=2"),
                ],
                f"{option}: 'a' is given twice",
                id=f"{option} twice",
            )
            for option in ("--label", "--annotation")
        ),
        pytest.param(["tokens", "create", "x", "--ttl", "0s"], "more than nothing", id="duration"),
        pytest.param(["--timeout", "11y", "status"], "ten years or less", id="long duration"),
        pytest.param(["events", "--since", "soon"], "no event's id", id="event id"),
        pytest.param(["events", "--follow", "--limit", "1"], "--limit does not go", id="follow"),
        pytest.param(["metrics", "--text", "--query", "x"], "exclude each other", id="metrics"),
        pytest.param(["tasks", "run", "x"], "missing argument", id="no command"),
        pytest.param(["tasks", "run", "", "--", "true"], "NAME is 1 to 200", id="empty name"),
        pytest.param(["tasks", "run", "x", "sh", "-c", "y"], "no such option", id="dashes"),
        pytest.param(["tasks", "progress", "--percent", "101", "i"], "range", id="percent"),
    ],
)
def test_a_bad_word_is_one_sentence_a_hint_and_exit_2(
    peer: WirePeer, ctl: Ctl, words: list[str], said: str
) -> None:
    status, out, err = ctl(*words)
    assert (status, out) == (2, "")
    sentence, hint = err.splitlines()
    assert sentence.startswith("storewatchctl: ")
    assert said in sentence
    assert hint.startswith("hint: ")
    assert peer.requests == []


@pytest.mark.parametrize(
    ("command", "option", "words"),
    [
        ("alerts list", "severity", "info, warning, critical"),
        ("alerts create", "severity", "info, warning, critical"),
        ("alerts list", "state", "pending, firing, resolved"),
        ("tasks list", "state", "pending, running, completed, failed"),
        ("events", "type", "alert, task, system, storage, scst, tape, vtl, metrics"),
        (
            *("tokens create x", "permission"),
            "read, write, admin, monitoring:read, monitoring:write, monitoring:admin",
        ),
    ],
)
def test_a_word_that_is_none_of_a_few_is_told_with_them(
    ctl: Ctl, command: str, option: str, words: str
) -> None:
    status, _, err = ctl(*command.split(), f"--{option}", "x")
    said = f"storewatchctl: {option}: expected one of {words}, found 'x'"
    assert (status, err.splitlines()[0]) == (2, said)


def test_an_expression_that_is_wrong_is_told_without_a_hint_about_usage(
    peer: WirePeer, ctl: Ctl
) -> None:
    def refuse(_: Any) -> Any:
        said = "expr: 1:4: expected a value"
        raise Refusal(Code.INVALID_PARAMS, said, {"line": 1, "column": 4})

    peer.answers["metrics.query"] = refuse
    status, _, err = ctl("metrics", "--query", "up +")
    assert (status, err) == (2, "storewatchctl: expr: 1:4: expected a value\n")


def test_text_that_is_no_text_is_refused_before_it_is_sent(peer: WirePeer, ctl: Ctl) -> None:
    status, _, err = ctl("repositories", "add", "x", "/srv/\udcff")
    assert status == 2
    assert "is not UTF-8 text: /srv/\\udcff" in err


def test_an_answer_of_another_shape_is_told_and_not_shown(peer: WirePeer, ctl: Ctl) -> None:
    peer.answers["health.get"] = lambda _: {"status": 7}
    status, out, err = ctl("health")
    assert (status, out) == (1, "")
    assert "the daemon's answer to health.get is not as agreed" in err


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(words.split(), id=words)
        for words in [
            "status",
            "health",
            "alerts list",
            "alerts show",
            "alerts ack",
            "alerts resolve",
            "alerts create",
            "alerts watch",
            "metrics",
            "events",
            "rules list",
            "rules show",
            "rules validate",
            "rules reload",
            "tasks list",
            "tasks show",
            "tasks run",
            "tasks start",
            "tasks progress",
            "tasks finish",
            "repositories list",
            "repositories add",
            "repositories remove",
            "probes list",
            "probes run",
            "probes plan",
            "boot check",
            "tape alert",
            "tokens create",
            "tokens list",
            "tokens revoke",
            "version",
        ]
    ],
)
def test_every_command_has_help_with_an_example_and_json(ctl: Ctl, words: list[str]) -> None:
    status, out, _ = ctl(*words, "-h")
    assert status == 0
    examples = out.partition("Examples:\n")[2]
    assert f"storewatchctl {' '.join(words)}" in examples
    assert "--json" in out


def test_version_says_its_own_even_where_no_daemon_answers(tmp_path: Path, ctl: Ctl) -> None:
    status, out, _ = ctl("--socket", str(tmp_path / "none"), "version")
    assert status == 3
    assert out.startswith("storewatchctl ")


def test_version_tells_both(peer: WirePeer, ctl: Ctl) -> None:
    assert ctl("version")[1].splitlines()[1] == "storewatchd 9.9, node peer"
    assert json.loads(ctl("version", "--json")[1])["node"] == "peer"


# Alerts.


def test_filters_reach_the_daemon_and_what_was_not_given_does_not(peer: WirePeer, ctl: Ctl) -> None:
    peer.answers["alerts.list"] = lambda _: alert_list()
    words = (
        "alerts list --severity critical --severity info --source storage --state firing "
        "--unacknowledged --resource-type repository --resource-id a --rule R --limit 7 "
        "--since 2026-01-01T00:00:00Z --cursor c"
    )
    status, out, err = ctl(*words.split(), "--label", 'x="y"')
    assert (status, out, err) == (0, "", "storewatchctl: no alerts\n")
    ctl("alerts", "list", "--json")
    assert peer.wait_for("alerts.list") == [
        {
            "severity": ["critical", "info"],
            "source": ["storage"],
            "state": ["firing"],
            "acknowledged": False,
            "resource_type": "repository",
            "resource_id": "a",
            "rule": "R",
            "label": ['x="y"'],
            "since": "2026-01-01T00:00:00.000Z",
            "limit": 7,
            "cursor": "c",
        },
        {"state": ["firing", "pending"], "limit": 50},
    ]


def chosen(*alerts: dict[str, Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Answer a list as the daemon does, of these alerts, newest first."""

    def answer(asked: dict[str, Any]) -> dict[str, Any]:
        found = [
            one
            for one in alerts
            if all(one[name] in asked.get(name, [one[name]]) for name in ("state", "severity"))
        ]
        cursor = "c1" if len(found) > asked["limit"] else None
        return alert_list(*found[: asked["limit"]], next_cursor=cursor)

    return answer


ALERTS = (
    alert(6, severity="info"),
    alert(5, severity="critical", state="resolved", resolved_at=NOON, resolved_by="rule"),
    alert(4, severity="critical"),
    alert(3, acknowledged=True),
    alert(2, state="pending"),
    alert(1, severity="critical"),
)


@pytest.mark.parametrize(
    ("words", "ids", "said"),
    [
        pytest.param("", "41326", "", id="open, the worst first"),
        pytest.param("--limit 5", "41326", "", id="just enough"),
        pytest.param("--limit 3", "413", "--open --all, or a larger --limit", id="cut"),
        pytest.param("--limit 2", "41", "--open --all, or a larger --limit", id="cut between"),
        pytest.param("--severity critical", "41", "", id="critical"),
        pytest.param("--severity critical --limit 1", "4", "or --cursor c1", id="one severity"),
        pytest.param("--state resolved", "5", "", id="resolved"),
        pytest.param("--state resolved --state firing", "41365", "", id="both"),
        pytest.param("--all", "413265", "", id="all"),
        pytest.param("--all --open", "41326", "", id="all open"),
        pytest.param("--cursor c0", "64321", "", id="from a cursor"),
    ],
)
def test_alerts_are_listed_open_ones_first_and_of_them_the_worst(
    peer: WirePeer, ctl: Ctl, words: str, ids: str, said: str
) -> None:
    peer.answers["alerts.list"] = chosen(*ALERTS)
    status, out, err = ctl("alerts", "list", *words.split())
    rows = out.splitlines()[1:]
    assert status == 0
    assert [line.split()[-2][-1] for line in rows] == list(ids)
    assert said in err
    assert bool(err) == bool(said)


def test_no_open_alerts_are_told_as_such(peer: WirePeer, ctl: Ctl) -> None:
    peer.answers["alerts.list"] = chosen()
    assert ctl("alerts", "list")[2] == "storewatchctl: no open alerts\n"


def test_a_list_is_a_line_an_alert_with_nothing_cut_off(
    peer: WirePeer, ctl: Ctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    title = "x" * 200
    peer.answers["alerts.list"] = lambda _: alert_list(
        alert(2, title=f"{title}\n\x1b[2J", acknowledged=True), alert(1, severity="critical")
    )
    _, out, _ = ctl("alerts", "list")
    head, second, first = out.splitlines()
    assert head.split() == ["SEVERITY", "STATE", "TITLE", "SINCE", "ID", "SOURCE"]
    assert title in first
    assert "\x1b" not in out
    assert first.startswith("warning   firing, ack  ")
    assert alert(1)["id"] in second


def test_json_is_the_daemons_own_answer_also_what_this_client_does_not_know(
    peer: WirePeer, ctl: Ctl
) -> None:
    answer = alert_list(alert(1, novelty=[1]))
    peer.answers["alerts.list"] = lambda _: answer
    _, out, err = ctl("--json", "alerts", "list")
    assert json.loads(out) == answer
    assert err == ""


def test_a_list_that_is_not_all_says_so(peer: WirePeer, ctl: Ctl) -> None:
    peer.answers["alerts.list"] = lambda _: alert_list(
        alert(1), next_cursor="c1", complete=False, incomplete_reason="history cannot be read"
    )
    _, _, err = ctl("alerts", "list", "--state", "resolved")
    assert "there are more: --all, or --cursor c1" in err
    assert "the list is incomplete: history cannot be read" in err


def test_all_asks_for_every_page(peer: WirePeer, ctl: Ctl) -> None:
    pages = {
        None: alert_list(alert(3), next_cursor="c1"),
        "c1": alert_list(alert(2), next_cursor="c2"),
        "c2": alert_list(alert(1)),
    }
    peer.answers["alerts.list"] = lambda params: pages[params.get("cursor")]
    _, out, _ = ctl("alerts", "list", "--all", "--json")
    whole = json.loads(out)
    assert [one["id"][-1] for one in whole["alerts"]] == ["3", "2", "1"]
    assert whole["next_cursor"] is None


def test_a_list_goes_on_behind_a_page_that_is_shorter_than_was_asked_for(
    peer: WirePeer, ctl: Ctl
) -> None:
    pages = {
        None: alert_list(alert(3), next_cursor="c1"),
        "c1": alert_list(alert(2), next_cursor="c2"),
    }
    peer.answers["alerts.list"] = lambda params: pages[params.get("cursor")]
    _, _, err = ctl("alerts", "list", "--state", "resolved", "--limit", "2")
    assert [one["params"]["limit"] for one in peer.requests] == [2, 1]
    assert "there are more: --all, or --cursor c2" in err


def test_show_tells_an_alert_with_its_story(peer: WirePeer, ctl: Ctl) -> None:
    peer.answers["alerts.get"] = lambda _: {
        "alert": alert(
            1, acknowledged=True, acknowledged_by="ann", acknowledged_at=NOON, stale_since=NOON
        ),
        "timeline": [
            {
                "id": "e.1",
                "seq": 1,
                "timestamp": NOON,
                "kind": "firing",
                "reason": {"strange": 0.85, "holes": []},
            }
        ],
        "complete": True,
        "incomplete_reason": None,
    }
    _, out, _ = ctl("alerts", "show", alert(1)["id"])
    assert "firing, ack, stale" in out
    assert "by ann" in out
    assert out.splitlines()[-1].split(None, 3)[2:] == ["firing", "strange 0.85"]


def test_show_tells_each_text_once_and_the_note_of_its_end(peer: WirePeer, ctl: Ctl) -> None:
    one = alert(
        1,
        annotations={"summary": "t", "description": "It fills up.", "runbook": "look there"},
        state="resolved",
        resolved_at=NOON,
        resolved_by="ann",
    )
    ended = {"actor": "ann", "note": "disk replaced"}
    peer.answers["alerts.get"] = lambda _: {
        "alert": one,
        "timeline": [
            {"id": "e.1", "seq": 1, "timestamp": NOON, "kind": "resolved", "reason": ended}
        ],
        "complete": True,
        "incomplete_reason": None,
    }
    _, out, _ = ctl("alerts", "show", one["id"])
    assert out.count("It fills up.") == 1
    assert "annotation summary" not in out
    assert "annotation runbook" in out
    resolved = next(line for line in out.splitlines() if line.startswith("resolved "))
    assert resolved.endswith(" by ann: disk replaced")


def test_show_keeps_the_annotations_of_an_alert_that_was_created(peer: WirePeer, ctl: Ctl) -> None:
    peer.answers["alerts.get"] = lambda _: {
        "alert": alert(1, rule="", annotations={"summary": "its creator's own"}),
        "timeline": [],
        "complete": True,
        "incomplete_reason": None,
    }
    assert "its creator's own" in ctl("alerts", "show", alert(1)["id"])[1]


def test_the_end_of_an_id_is_enough(peer: WirePeer, ctl: Ctl) -> None:
    peer.answers["alerts.list"] = lambda _: alert_list(alert(17), alert(27))
    peer.answers["alerts.acknowledge"] = lambda params: alert(27, acknowledged=True)
    status, out, _ = ctl("alerts", "ack", "27", "--note", "on it")
    assert (status, out) == (0, "acknowledged: Repository archive is 85 % full\n")
    assert peer.wait_for("alerts.acknowledge") == [{"id": alert(27)["id"], "note": "on it"}]


@pytest.mark.parametrize(
    ("command", "answer", "said"),
    [
        pytest.param("ack", {"acknowledged": True}, "acknowledged", id="acknowledged"),
        pytest.param(
            "ack", {"state": "resolved"}, "not acknowledged, for it is resolved", id="over"
        ),
        pytest.param(
            "ack",
            {"state": "resolved", "acknowledged": True},
            "acknowledged",
            id="over, and acknowledged before",
        ),
        pytest.param("resolve", {"state": "resolved"}, "resolved", id="resolved"),
    ],
)
def test_a_mark_is_told_as_the_daemon_has_it(
    peer: WirePeer, ctl: Ctl, command: str, answer: dict[str, Any], said: str
) -> None:
    for method in ("alerts.acknowledge", "alerts.resolve"):
        peer.answers[method] = lambda _: alert(1, title="Fan", **answer)
    status, out, _ = ctl("alerts", command, alert(1)["id"])
    assert (status, out) == (0, f"{said}: Fan\n")


def test_an_end_that_fits_two_ids_marks_neither(peer: WirePeer, ctl: Ctl) -> None:
    peer.answers["alerts.list"] = lambda _: alert_list(alert(17), alert(27))
    status, _, err = ctl("alerts", "resolve", "7")
    assert status == 2
    assert "2 alerts have an id that ends with '7'" in err
    assert [one["method"] for one in peer.requests] == ["alerts.list"]


def test_an_end_that_fits_no_id_is_exit_5(peer: WirePeer, ctl: Ctl) -> None:
    peer.answers["alerts.list"] = lambda _: alert_list(alert(17))
    status, _, err = ctl("alerts", "resolve", "nope")
    assert status == 5
    assert "there is no alert 'nope'" in err


def test_create_prints_the_id_alone(peer: WirePeer, ctl: Ctl) -> None:
    peer.answers["alerts.create"] = lambda _: alert(5)
    words = (
        "alerts create --severity info --source ups --title t --message m --resource-type r "
        "--resource-id i --label a=1 --label b=x=y --key k --ttl 1h"
    )
    _, out, _ = ctl(*words.split())
    assert out == f"{alert(5)['id']}\n"
    assert peer.wait_for("alerts.create") == [
        {
            "severity": "info",
            "source": "ups",
            "title": "t",
            "message": "m",
            "resource_type": "r",
            "resource_id": "i",
            "labels": {"a": "1", "b": "x=y"},
            "annotations": {},
            "key": "k",
            "ttl": 3600.0,
        }
    ]


# Health, status, metrics.


def query_row(value: float | str, state: str, **labels: str) -> dict[str, Any]:
    return {"labels": labels, "value": value, "exact": state == "exact", "state": state}


HEALTH: dict[str, Any] = {
    "status": "unhealthy",
    "timestamp": NOON,
    "node": "peer",
    "components": [
        {
            "name": "database",
            "status": "unhealthy",
            "message": "it is away",
            "checked_at": NOON,
            "duration_ms": 1.25,
        },
        {
            "name": "tape",
            "status": "unknown",
            "message": "no library",
            "checked_at": None,
            "duration_ms": None,
        },
    ],
}

STATUS: dict[str, Any] = {
    "node": "peer",
    "version": "9.9",
    "pid": 1,
    "uptime_seconds": 61.0,
    "ready": True,
    "health": "degraded",
    "alerts": {"firing": 1, "pending": 0, "acknowledged": 0},
    "probes": [
        {
            "probe": "repositories",
            "scope": {"repository": "far"},
            "outcome": "failed",
            "reason": "the mount hangs",
            "last_run": NOON,
            "last_seen": None,
            "duration_seconds": None,
            "interval_seconds": 30.0,
            "stuck_since": NOON,
            "rows": 0,
        }
    ],
    "database": {
        "kind": "embedded",
        "up": False,
        "message": "it is away",
        "unconfirmed": 12,
        "server_version": None,
    },
}


def test_health_exits_1_only_where_the_whole_is_unhealthy(peer: WirePeer, ctl: Ctl) -> None:
    peer.answers["health.get"] = lambda _: HEALTH
    status, out, _ = ctl("health")
    assert status == 1
    assert "database   unhealthy  it is away" in out
    peer.answers["health.get"] = lambda _: {**HEALTH, "status": "degraded"}
    assert ctl("health")[0] == 0


def test_status_shows_what_it_can_where_parts_cannot_be_had(peer: WirePeer, ctl: Ctl) -> None:
    peer.answers["daemon.status"] = lambda _: STATUS
    peer.answers["metrics.get"] = refusing(Code.UNAVAILABLE, "nothing was measured")
    peer.answers["health.get"] = lambda _: HEALTH
    peer.answers["alerts.list"] = lambda _: alert_list(alert(1))
    status, out, _ = ctl("status")
    assert status == 0
    assert "unknown: nothing was measured" in out
    assert "unknown: there is no method 'repositories.list'" in out
    assert "it is away, 12 records waiting for it" in out
    assert "Repository archive is 85 % full" in out
    assert "Probes: 1, 1 cannot see" in out
    assert "repositories repository=far: the mount hangs" in out


def snapshot(**known: float) -> dict[str, Any]:
    """Return a snapshot in which only this is known, and all of it of the system."""
    system = dict.fromkeys(
        [
            "cpu_usage_percent",
            "memory_used_bytes",
            "memory_total_bytes",
            "memory_usage_percent",
            "disk_used_bytes",
            "disk_total_bytes",
            "disk_usage_percent",
            "uptime_seconds",
        ]
    )
    return {
        "timestamp": NOON,
        "node": "peer",
        "system": {**system, **known},
        **dict.fromkeys(("storage", "scst", "tape", "vtl", "tasks", "api")),
    }


@pytest.mark.parametrize(
    ("row", "free"),
    [
        pytest.param(query_row(76.0 * 2**30, "exact"), "76.0 GiB", id="known"),
        pytest.param(query_row(76.0 * 2**30, "at_least"), "?", id="not all of it seen"),
    ],
)
def test_status_tells_of_the_disk_what_is_used_and_what_is_free(
    peer: WirePeer, ctl: Ctl, row: dict[str, Any], free: str
) -> None:
    peer.answers["daemon.status"] = lambda _: STATUS
    peer.answers["metrics.get"] = lambda _: snapshot(
        disk_used_bytes=26.5 * 2**30, disk_total_bytes=252 * 2**30, disk_usage_percent=26.2
    )
    peer.answers["metrics.query"] = lambda _: {"rows": [row], "holes": []}
    shown = [" ".join(line.split()) for line in ctl("status")[1].splitlines()]
    assert f"disk 26.2 %, 26.5 GiB used, {free} free" in shown
    assert peer.wait_for("metrics.query") == [{"expr": "sum(node_filesystem_avail_bytes)"}]


def test_status_as_json_is_the_daemons_and_the_machines(peer: WirePeer, ctl: Ctl) -> None:
    peer.answers["daemon.status"] = lambda _: STATUS
    peer.answers["metrics.get"] = lambda _: snapshot(cpu_usage_percent=7)
    peer.answers["metrics.query"] = lambda _: {"rows": [query_row(9.0, "exact")], "holes": []}
    peer.answers["repositories.list"] = lambda _: {"repositories": [{"novelty": 1}]}
    status, out, err = ctl("status", "--json")
    assert status == 0
    assert json.loads(out) == {
        **STATUS,
        "system": {**snapshot(cpu_usage_percent=7)["system"], "disk_available_bytes": 9.0},
        "repositories": [{"novelty": 1}],
        "components": None,
    }
    assert err == "storewatchctl: components cannot be had: there is no method 'health.get'\n"


def test_metrics_tell_unknown_from_nothing_there(peer: WirePeer, ctl: Ctl) -> None:
    peer.answers["metrics.get"] = lambda _: snapshot(memory_used_bytes=2**30)
    shown = {" ".join(line.split()) for line in ctl("metrics")[1].splitlines()}
    assert "system memory used 1.0 GiB" in shown
    assert "system cpu usage unknown" in shown
    assert "tape not there" in shown


def test_a_query_shows_rows_what_is_unknown_and_the_holes(peer: WirePeer, ctl: Ctl) -> None:
    peer.answers["metrics.query"] = lambda _: {
        "rows": [
            query_row(1.0, "exact", __name__="up", a='x"y'),
            query_row(0.25, "unknown"),
            query_row("+Inf", "exact", a="y"),
            query_row(5.0, "at_least", a="z"),
            query_row("-Inf", "at_most"),
        ],
        "holes": [{"repository": "far"}],
    }
    _, out, err = ctl("metrics", "--query", "up")
    assert [line.split() for line in out.splitlines()[1:]] == [
        ['up{a="x\\"y"}', "1", "ok"],
        ["{}", "0.25", "unknown"],
        ['{a="y"}', "+Inf", "ok"],
        ['{a="z"}', "≥", "5", "at", "least"],
        ["{}", "≤", "-Inf", "at", "most"],
    ]
    assert 'could not be looked at: {repository="far"}' in err
    assert peer.wait_for("metrics.query") == [{"expr": "up"}]


def test_text_is_the_exposition_as_it_is(peer: WirePeer, ctl: Ctl) -> None:
    peer.answers["metrics.text"] = lambda _: "# HELP a b\na 1\n"
    assert ctl("metrics", "--text")[1] == "# HELP a b\na 1\n"


# Events.


def test_events_are_sentences(peer: WirePeer, ctl: Ctl) -> None:
    peer.answers["events.list"] = lambda _: {
        "events": [
            event(1, type="task", kind="end", data=task()),
            event(2, type="alert", kind="resolved", data=alert(1, resolved_by="ann")),
            event(3, kind="gap", data={"reason": "too old"}),
            event(4, kind="token_created", data={"name": "t", "none": None}),
            event(5, type="alert", kind="novel", data={"strange": True}),
            event(6, type="task", kind="start", data=task(), unjournalled=True),
        ],
        "gap": True,
    }
    _, out, err = ctl("events")
    for sentence in (
        "nightly failed with status 3 after 3.0 s",
        "warning: Repository archive is 85 % full (StorageCapacityWarning), by ann",
        "events are missing here: too old",
        "name t ",
        "strange true",
        "nightly began (not on disk yet)",
    ):
        assert sentence in out
    assert "no longer kept" in err


def test_events_since_an_id_come_whole_page_by_page(peer: WirePeer, ctl: Ctl) -> None:
    pages = {"e.0": [event(1), event(2)], "e.2": [event(3)], "e.3": []}
    peer.answers["events.list"] = lambda params: {"events": pages[params["since"]], "gap": False}
    _, out, _ = ctl("events", "--since", "e.0", "--json")
    assert [one["seq"] for one in json.loads(out)["events"]] == [1, 2, 3]


def test_events_say_that_they_are_not_on_disk_only_where_they_should_be(
    peer: WirePeer, ctl: Ctl
) -> None:
    told = [event(1), event(2, unjournalled=True)]
    peer.answers["events.list"] = lambda _: {"events": told, "gap": False}
    _, out, _ = ctl("events", "--json")
    assert json.loads(out)["events"] == told


def listing(*pages: list[dict[str, Any]]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Answer a list from a time with a first page, and go on after the last event of each."""
    following = {page[-1]["id"]: after for page, after in zip(pages, [*pages[1:], []], strict=True)}

    def answer(params: dict[str, Any]) -> dict[str, Any]:
        events = pages[0] if "from" in params else following[params["since"]]
        return {"events": events, "gap": False}

    return answer


def test_events_since_a_time_are_found_by_the_daemon_and_come_whole(
    peer: WirePeer, ctl: Ctl
) -> None:
    pages = [[event(number) for number in range(1, 1001)], [event(1001)]]
    peer.answers["events.list"] = listing(*pages)
    _, out, err = ctl("events", "--since", NOON, "--json")
    assert [one["seq"] for one in json.loads(out)["events"]] == list(range(1, 1002))
    assert peer.wait_for("events.list") == [
        {"from": NOON, "limit": 1000},
        {"since": "e.1000", "limit": 1000},
        {"since": "e.1001", "limit": 1000},
    ]
    assert err == ""


def test_a_limit_counts_what_is_shown(peer: WirePeer, ctl: Ctl) -> None:
    critical = {"type": "alert", "kind": "firing", "data": alert(1, severity="critical")}
    info = {"type": "alert", "kind": "firing", "data": alert(1, severity="info")}
    peer.answers["events.list"] = listing(
        [event(1, **info), event(2, **critical)], [event(3, **critical), event(4, **critical)]
    )
    words = ("--since", NOON, "--severity", "critical", "--limit", "2", "--json")
    _, out, _ = ctl("events", *words)
    assert [one["seq"] for one in json.loads(out)["events"]] == [2, 3]


def test_events_of_a_time_that_are_gone_are_told(peer: WirePeer, ctl: Ctl) -> None:
    peer.answers["events.list"] = lambda _: {"events": [], "gap": True}
    _, _, err = ctl("events", "--since", NOON)
    assert "some events since then are no longer kept" in err


def test_severity_filters_alerts_and_leaves_the_rest(peer: WirePeer, ctl: Ctl) -> None:
    peer.answers["events.list"] = lambda _: {
        "events": [event(1), event(2, type="alert", kind="firing", data=alert(1))],
        "gap": False,
    }
    _, out, _ = ctl("events", "--severity", "critical", "--json")
    assert [one["seq"] for one in json.loads(out)["events"]] == [1]


# Rules.


def test_validate_sends_the_file_and_tells_each_problem_with_its_place(
    peer: WirePeer, ctl: Ctl, tmp_path: Path
) -> None:
    file = tmp_path / "mine.yml"
    file.write_text("groups: []\n")
    problem = {"path": str(file), "line": 3, "column": 7, "message": "unknown key 'exprr'"}
    peer.answers["rules.validate"] = lambda _: {"valid": False, "rules": 0, "problems": [problem]}
    status, out, err = ctl("rules", "validate", str(file))
    assert status == 1
    assert out == f"{file}:3:7: unknown key 'exprr'\n"
    assert "1 problem; nothing was changed" in err
    assert peer.wait_for("rules.validate") == [{"content": "groups: []\n", "path": str(file)}]


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_of_a_file_that_is_no_rule_file_no_line_is_shown(
    peer: WirePeer, ctl: Ctl, tmp_path: Path, form: list[str]
) -> None:
    file = tmp_path / "shadow"
    file.write_text("root:$6$secret:19000:0:99999:7:::\nbin:*:19000::::::\n")
    problems = [
        {"path": str(file), "line": line, "column": 1, "message": f"unknown key {key!r}"}
        for line, key in ((1, "root:$6$secret:19000:0:99999:7::"), (2, "bin:*:19000:::::"))
    ]
    peer.answers["rules.validate"] = lambda _: {"valid": False, "rules": 0, "problems": problems}
    status, out, err = ctl("rules", "validate", str(file), *form)
    assert status == 1
    assert "19000" not in out + err
    said = "this is no rule file: expected a mapping with the key groups"
    if form:
        problem = {"path": str(file), "line": 1, "column": 1, "message": said}
        assert json.loads(out)["problems"] == [problem]
    else:
        assert out == f"{file}:1:1: {said}\n"


def test_of_a_file_that_is_empty_that_is_told(peer: WirePeer, ctl: Ctl, tmp_path: Path) -> None:
    file = tmp_path / "mine.yml"
    file.write_text("")
    problem = {"path": str(file), "line": 0, "column": 0, "message": "the file is empty"}
    peer.answers["rules.validate"] = lambda _: {"valid": False, "rules": 0, "problems": [problem]}
    assert ctl("rules", "validate", str(file))[1] == f"{file}: the file is empty\n"


def test_a_good_rule_file_is_exit_0(peer: WirePeer, ctl: Ctl) -> None:
    peer.answers["rules.reload"] = lambda _: {"valid": True, "rules": 3, "problems": []}
    assert ctl("rules", "reload")[:2] == (0, "3 rules: in force\n")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(None, "no such file or directory", id="missing"),
        pytest.param(b"\xff\xfe", "it is not UTF-8 text, from byte 0 on", id="binary"),
        pytest.param(b"#" * 2_000_000, "is too long", id="huge"),
    ],
)
def test_a_file_that_cannot_be_checked_is_named(
    peer: WirePeer, ctl: Ctl, tmp_path: Path, content: bytes | None, said: str
) -> None:
    file = tmp_path / "mine.yml"
    if content is not None:
        file.write_bytes(content)
    status, _, err = ctl("rules", "validate", str(file))
    assert status in (1, 2)
    assert said in err
    assert peer.requests == []


# Tasks, repositories, probes, tokens.


def test_a_task_is_started_moved_on_and_finished(
    peer: WirePeer, ctl: Ctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer.answers["tasks.start"] = lambda params: task(id="mine", state="running")
    peer.answers["tasks.progress"] = lambda params: task()
    peer.answers["tasks.finish"] = lambda params: task()
    assert ctl("tasks", "start", "nightly", "--id", "mine", "--type", "backup")[1] == "mine\n"
    monkeypatch.setenv("STOREWATCH_TASK_ID", "mine")
    assert ctl("tasks", "progress", "--percent", "40", "--bytes", "7")[1] == ""
    finished = ctl("tasks", "finish", "mine", "--exit-status", "3", "--output", "boom")
    assert finished[1] == "nightly failed with status 3 after 3.0 s\n"
    assert peer.wait_for("tasks.progress") == [{"id": "mine", "percent": 40.0, "bytes": 7}]
    assert peer.wait_for("tasks.finish") == [
        {"id": "mine", "exit_status": 3, "message": "", "output": "boom"}
    ]


def test_a_failed_task_is_listed_with_its_last_words(peer: WirePeer, ctl: Ctl) -> None:
    peer.answers["tasks.list"] = lambda _: {
        "tasks": [task()],
        "next_cursor": None,
        "complete": True,
        "incomplete_reason": None,
    }
    _, out, _ = ctl("tasks", "list", "--name", "nightly", "--state", "failed")
    assert "status 3: boom" in out
    assert peer.wait_for("tasks.list") == [{"name": "nightly", "state": ["failed"], "limit": 50}]


def task_list(*tasks: dict[str, Any]) -> dict[str, Any]:
    return {"tasks": list(tasks), "next_cursor": None, "complete": True, "incomplete_reason": None}


def test_a_run_is_shown_whole_with_its_output(peer: WirePeer, ctl: Ctl) -> None:
    peer.answers["tasks.get"] = lambda _: task(message="sh -c boom", bytes=2048, novelty=1)
    status, out, err = ctl("tasks", "show", "mine")
    shown = [" ".join(line.split()) for line in out.splitlines()]
    assert (status, err) == (0, "")
    for pair in (
        *("task nightly", "type backup", "state failed", "message sh -c boom", "took 3.0 s"),
        *("exit status 3", "moved 2.0 KiB", "reported by root", f"id {task()['id']}"),
    ):
        assert pair in shown
    assert shown[-3:] == ["The end of its output", "begun", "boom"]
    assert json.loads(ctl("tasks", "show", "mine", "--json")[1])["novelty"] == 1
    assert peer.wait_for("tasks.get") == [{"id": "mine"}, {"id": "mine"}]


def test_a_name_shows_the_newest_run_of_its_task(peer: WirePeer, ctl: Ctl) -> None:
    peer.answers["tasks.get"] = refusing(Code.NOT_FOUND, "there is no task 'nightly'")
    peer.answers["tasks.list"] = lambda _: task_list(task(output="", novelty=1))
    assert "nothing is kept of its output" in ctl("tasks", "show", "nightly")[1]
    assert json.loads(ctl("tasks", "show", "nightly", "--json")[1]) == task(output="", novelty=1)
    assert peer.wait_for("tasks.list")[0] == {"name": "nightly", "limit": 1}


def test_the_end_of_a_runs_id_is_enough(peer: WirePeer, ctl: Ctl) -> None:
    known = {task()["id"]: task()}

    def get(params: dict[str, Any]) -> dict[str, Any]:
        if params["id"] not in known:
            raise Refusal(Code.NOT_FOUND, "there is none")
        return known[params["id"]]

    peer.answers["tasks.get"] = get
    peer.answers["tasks.list"] = lambda params: task_list(*([] if "name" in params else [task()]))
    assert ctl("tasks", "show", "000aa")[1].split()[:2] == ["task", "nightly"]
    status, _, err = ctl("tasks", "show", "nope")
    assert status == 5
    assert "there is no task 'nope'" in err


def test_a_run_that_only_history_may_know_is_not_called_unknown(peer: WirePeer, ctl: Ctl) -> None:
    peer.answers["tasks.get"] = refusing(Code.UNAVAILABLE, "history is away")
    peer.answers["tasks.list"] = lambda _: task_list()
    status, _, err = ctl("tasks", "show", "old")
    assert status == 1
    assert "history is away" in err


def test_a_repository_that_cannot_be_seen_shows_why_and_no_numbers(
    peer: WirePeer, ctl: Ctl
) -> None:
    peer.answers["repositories.list"] = lambda _: {
        "repositories": [
            {
                "name": "far",
                "path": "/srv/far",
                "origin": "added",
                "status": "failed",
                "error": "it hangs",
                "checked_at": None,
                **dict.fromkeys(
                    [
                        "size_bytes",
                        "used_bytes",
                        "available_bytes",
                        "usage_percent",
                        "mount_point",
                        "file_system",
                    ]
                ),
            }
        ]
    }
    _, out, _ = ctl("repositories", "list")
    assert [line.split() for line in out.splitlines()] == [
        ["NAME", "PATH", "USED", "FREE", "%", "STATUS", "KIND", "ORIGIN", "REASON"],
        ["far", "/srv/far", "?", "?", "?", "failed", "-", "added", "it", "hangs"],
    ]


def test_an_addition_that_cannot_be_used_now_says_why_and_is_exit_1(
    peer: WirePeer, ctl: Ctl
) -> None:
    facts = ("size", "used", "available")
    added = {
        "name": "far",
        "path": "/srv/far",
        "origin": "added",
        "status": "failed",
        "error": "/srv/far does not exist",
        **dict.fromkeys(f"{name}_bytes" for name in facts),
        **dict.fromkeys(("usage_percent", "mount_point", "file_system", "checked_at")),
    }
    peer.answers["repositories.add"] = lambda _: added
    status, out, err = ctl("repositories", "add", "far", "/srv/far")
    assert (status, out) == (1, "watching far at /srv/far\n")
    assert err == "storewatchctl: it cannot be used now: /srv/far does not exist\n"


def test_a_path_relative_to_here_is_sent_absolute(
    peer: WirePeer, ctl: Ctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer.answers["repositories.add"] = refusing(Code.CONFLICT, "there is one of that name")
    monkeypatch.chdir(tmp_path)
    assert ctl("repositories", "add", "x", "./sub")[0] == 1
    ctl("repositories", "add", "x", "pool/dataset")
    assert [one["path"] for one in peer.wait_for("repositories.add")] == [
        str(tmp_path / "sub"),
        "pool/dataset",
    ]


def test_a_tokens_secret_is_alone_on_standard_output(peer: WirePeer, ctl: Ctl) -> None:
    peer.answers["tokens.create"] = lambda _: {"token": token(), "secret": "swt_x"}
    _, out, err = ctl("tokens", "create", "g", "--permission", "write", "--ttl", "2d")
    assert out == "swt_x\n"
    assert "is good until it is revoked" in err
    assert peer.wait_for("tokens.create") == [
        {"name": "g", "permissions": ["monitoring:write"], "ttl": 172800.0}
    ]


def test_a_token_is_revoked_by_its_name_if_only_one_has_it(peer: WirePeer, ctl: Ctl) -> None:
    old = token(id="01900000-0000-7000-8000-0000000000cc", revoked_at=NOON)
    peer.answers["tokens.list"] = lambda _: {"tokens": [token(), old]}
    peer.answers["tokens.revoke"] = lambda _: token(revoked_at=NOON)
    assert ctl("tokens", "revoke", "grafana")[:2] == (0, "token grafana is revoked\n")
    assert peer.wait_for("tokens.revoke") == [{"id": token()["id"]}]
    assert ctl("tokens", "revoke", "nope")[0] == 5


def numbered(number: int, **changes: Any) -> dict[str, Any]:
    return token(id=f"01900000-0000-7000-8000-{number:012d}", **changes)


def test_a_name_that_several_valid_tokens_have_is_refused_with_their_ids(
    peer: WirePeer, ctl: Ctl
) -> None:
    over = [numbered(3, revoked_at=NOON), numbered(4, expires_at=NOON)]
    peer.answers["tokens.list"] = lambda _: {"tokens": [numbered(1), *over, numbered(2)]}
    status, out, err = ctl("tokens", "revoke", "grafana")
    assert (status, out) == (2, "")
    assert err.splitlines() == [
        "storewatchctl: 2 tokens are called 'grafana': name one by its id",
        f"hint: they are {numbered(1)['id']}, {numbered(2)['id']}",
    ]
    assert [one["method"] for one in peer.requests] == ["tokens.list"]


def test_a_name_that_only_tokens_have_that_are_over_is_exit_5(peer: WirePeer, ctl: Ctl) -> None:
    peer.answers["tokens.list"] = lambda _: {"tokens": [numbered(1, revoked_at=NOON)]}
    status, _, err = ctl("tokens", "revoke", "grafana")
    assert status == 5
    assert "no token called 'grafana' is valid any more" in err


def test_a_second_token_of_a_name_is_made_and_told(peer: WirePeer, ctl: Ctl) -> None:
    peer.answers["tokens.create"] = lambda _: {"token": numbered(2), "secret": "swt_x"}
    peer.answers["tokens.list"] = lambda _: {"tokens": [numbered(1), numbered(2)]}
    status, out, err = ctl("tokens", "create", "grafana")
    assert (status, out) == (0, "swt_x\n")
    assert "2 tokens are called 'grafana' now" in err


def test_tokens_are_listed_while_they_are_valid_and_all_of_them_on_request(
    peer: WirePeer, ctl: Ctl
) -> None:
    peer.answers["tokens.list"] = lambda _: {
        "tokens": [
            numbered(1, revoked_at=NOON),
            numbered(2, expires_at=NOON),
            numbered(3, expires_at="2999-01-01T00:00:00.000Z", novelty=1),
        ]
    }
    assert [line.split()[1] for line in ctl("tokens", "list")[1].splitlines()] == ["STATE", "valid"]
    assert json.loads(ctl("tokens", "list", "--json")[1]) == {
        "tokens": [numbered(3, expires_at="2999-01-01T00:00:00.000Z", novelty=1)]
    }
    rows = ctl("tokens", "list", "--all")[1].splitlines()[1:]
    assert [line.split()[1] for line in rows] == ["valid", "revoked", "expired"]


# The next start.

WELL = {"check": "kernel", "state": "ok", "about": "6.1 is next", "advice": ""}
WRONG = {
    "check": "module_scst",
    "state": "problem",
    "about": "6.1 has no module scst",
    "advice": "Build it.",
}
NOT_KNOWN = {"check": "module_scst", "state": "unknown", "about": "no GRUB", "advice": ""}


@pytest.mark.parametrize(
    ("checks", "ready", "status"),
    [
        pytest.param([WELL], True, 0, id="ready"),
        pytest.param([WELL, WRONG], False, 1, id="problem"),
        pytest.param([WELL, NOT_KNOWN], False, 1, id="unknown"),
    ],
)
def test_the_next_start_is_a_table_and_an_exit_code(
    peer: WirePeer, ctl: Ctl, checks: list[dict[str, str]], ready: bool, status: int
) -> None:
    score = 100 // len(checks)
    planned = "2026-01-01T12:00:00.000Z" if status else None
    report = {
        "ready": ready,
        "score": score,
        "scheduled": planned,
        "checks": checks,
        "checked_at": shown.wire_time(clock.now() - timedelta(seconds=240.5)),
    }
    peer.answers["boot.check"] = lambda _: report
    ended, out, err = ctl("boot", "check")
    assert (ended, err) == (status, "")
    titles, *rows = out.splitlines()
    assert titles.split() == ["CHECK", "STATE", "WHAT", "ADVICE"]
    assert rows.pop().startswith("looked at 4 min ")
    if status:
        assert rows.pop().startswith("a start is planned for 2026-01-01")
    assert rows.pop() == f"score {score} %: 1 of {len(checks)} checks are well"
    for row, check in zip(rows, checks, strict=True):
        assert row.split()[:2] == [check["check"], check["state"]]
        assert check["about"] in row
        assert row.endswith(check["advice"] or "-")
    ended, out, _ = ctl("boot", "check", "--json")
    assert (ended, json.loads(out)) == (status, report)
    assert peer.wait_for("boot.check") == [{}, {}]


# Tapes.

FLAG = {
    "number": 20,
    "name": "clean now",
    "severity": "critical",
    "advice": "The drive must be cleaned before any more work.",
    "timestamp": "2026-01-01T12:00:00.000Z",
}


def tape_report(**changes: Any) -> dict[str, Any]:
    report = {"device": "DRV1", "kind": "drive", "flags": [FLAG], "mark": 7, "unread": ""}
    return {**report, **changes}


def test_flags_are_told_as_backup_programs_read_them_and_confirmed(
    peer: WirePeer, ctl: Ctl
) -> None:
    peer.answers["tape.alert"] = lambda _: tape_report()
    peer.answers["tape.told"] = lambda _: True
    assert ctl("tape", "alert", "/dev/nst0", "--asker", "x") == (
        0,
        "TapeAlert[20]: clean now: The drive must be cleaned before any more work.\n",
        "",
    )
    assert peer.wait_for("tape.alert") == [{"device": "/dev/nst0", "asker": "x"}]
    assert peer.wait_for("tape.told") == [{"device": "DRV1", "mark": 7, "asker": "x"}]


def test_the_flags_of_a_library_are_none_of_a_drive(peer: WirePeer, ctl: Ctl) -> None:
    peer.answers["tape.alert"] = lambda _: tape_report(kind="library")
    peer.answers["tape.told"] = lambda _: True
    assert ctl("tape", "alert", "LIB1")[1].startswith("Library TapeAlert[20]: ")


def test_no_flags_are_no_output(peer: WirePeer, ctl: Ctl) -> None:
    peer.answers["tape.alert"] = lambda _: tape_report(flags=[])
    peer.answers["tape.told"] = lambda _: True
    assert ctl("tape", "alert", "DRV1") == (0, "", "")


def test_flags_as_json_are_the_report(peer: WirePeer, ctl: Ctl) -> None:
    peer.answers["tape.alert"] = lambda _: tape_report()
    peer.answers["tape.told"] = lambda _: True
    assert json.loads(ctl("tape", "alert", "DRV1", "--json")[1]) == tape_report()


def test_a_link_to_a_node_is_followed_here(peer: WirePeer, ctl: Ctl, tmp_path: Path) -> None:
    peer.answers["tape.alert"] = lambda _: tape_report()
    peer.answers["tape.told"] = lambda _: True
    (tmp_path / "by-id").symlink_to("/dev/null")
    ctl("tape", "alert", str(tmp_path / "by-id"))
    assert peer.wait_for("tape.alert") == [{"device": "/dev/null"}]


def test_a_drive_that_could_not_be_asked_is_a_failure_after_what_is_known(
    peer: WirePeer, ctl: Ctl
) -> None:
    peer.answers["tape.alert"] = lambda _: tape_report(unread="it is reserved")
    peer.answers["tape.told"] = lambda _: True
    status, out, err = ctl("tape", "alert", "/dev/nst0")
    assert (status, out.startswith("TapeAlert[20]: ")) == (1, True)
    assert "/dev/nst0 may have more TapeAlert flags" in err
    assert "it is reserved" in err


def test_a_daemon_that_is_away_is_no_good_news(ctl: Ctl, tmp_path: Path) -> None:
    status, out, err = ctl("--socket", str(tmp_path / "none"), "tape", "alert", "/dev/nst0")
    assert (status, out) == (3, "")
    assert "the TapeAlert flags of /dev/nst0 are not known, and were not read" in err


def test_a_confirmation_that_does_not_arrive_is_no_failure(peer: WirePeer, ctl: Ctl) -> None:
    peer.answers["tape.alert"] = lambda _: tape_report()
    status, out, err = ctl("tape", "alert", "DRV1")
    assert (status, out.startswith("TapeAlert[20]: ")) == (0, True)
    assert "another time they are told again" in err
