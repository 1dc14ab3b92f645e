"""The same data and the same questions, chosen and made up, asked of a real Prometheus."""

import json
import math
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.promql.fix_expressions import expressions
from storewatchd.core.frames import Family, Frame, MetricType, Row, Scope
from storewatchd.core.promql import Plan, parse
from storewatchd.core.series import SeriesTable
from storewatchd.errors import ExpressionError

# Prometheus makes blocks of two hours; the moment asked for lies inside one.
START = 1_767_268_800
STEP = 30
STEPS = 60
AT = START + STEP * (STEPS - 1) + 10

LABELS = ("host", "disk")
SERIES: dict[str, dict[tuple[str, str], list[float]]] = {
    "used": {
        ("a", "1"): [float(n) for n in range(STEPS)],
        ("a", "2"): [100.0 - n for n in range(STEPS)],
        ("b", "1"): [float(n % 7) for n in range(STEPS)],
    },
    "size": {
        ("a", "1"): [200.0] * STEPS,
        ("a", "2"): [100.0] * STEPS,
        ("b", "1"): [0.0] * STEPS,
        ("c", "1"): [50.0] * STEPS,
    },
    "errors_total": {
        ("a", "1"): [float(3 * n) for n in range(STEPS)],
        ("a", "2"): [float(n % 20) for n in range(STEPS)],
        ("b", "1"): [5.0] * STEPS,
    },
    "odd": {
        ("a", "1"): [math.nan if n % 5 == 0 else float(n) for n in range(STEPS)],
        ("a", "2"): [math.inf if n % 4 == 3 else -float(n) for n in range(STEPS)],
        ("b", "1"): [-0.5] * STEPS,
        ("b", "2"): [math.nan] * STEPS,
        ("c", "1"): [-math.inf if n < 55 else 1.0 for n in range(STEPS)],
    },
}

QUESTIONS = [
    "used",
    'used{host="a"}',
    'used{host=~"a|c", disk!="2"}',
    'used{missing=""}',
    'size{host!~"a.*"}',
    "used / size",
    "used / size > 0.3",
    "used / size > bool 0.3",
    "used % 7",
    "used ^ 2",
    "-used",
    "-used ^ 2",
    "2 - used * 3 + 1",
    "size - used",
    "used > 10 < 60",
    "used == used",
    "size unless used",
    "size and used",
    "used or size",
    "size and on (disk) used > 50",
    "size unless on (host) used",
    "used or on (host) size",
    "used + on (host, disk) size",
    "used + ignoring (nothing) size",
    "used * on (host) size",
    "sum(used)",
    "sum by (host) (used)",
    "sum without (disk) (size)",
    "avg by (disk) (used)",
    "max(used) - min(used)",
    "count by (nothing) (size)",
    "sum(used) by (host) / sum(size) by (host)",
    "rate(errors_total[5m])",
    "increase(errors_total[10m])",
    "increase(errors_total[7m] offset 3m)",
    "sum by (host) (rate(errors_total[5m]))",
    "max_over_time(used[3m])",
    "avg_over_time(used[10m])",
    "used offset 5m",
    "used - used offset 10m",
    "absent(used)",
    'absent(nothing{host="z", disk=~"x"})',
    'absent(used{host="z"})',
    "time()",
    "time() - used > 1000",
    "1 / 0",
    "0 / 0",
    "5 > bool 3",
    '{__name__=~"used|size", host="a"}',
    "used + nothing",
    "size / used",
    "sum(size > 1000)",
    'count by (__name__) ({__name__=~".+"})',
    "used == on (__name__, host, disk) used",
    "used + on (__name__, host, disk) used",
    "used and on (__name__) size",
    "used == ignoring (__name__) used",
    "used + on () time()",
    "nothing + on (host) used",
    '{host="a"} == used',
    'sum({__name__=~"used|size"} * 2)',
    '-{__name__=~"used|size"}',
    'max_over_time({__name__=~"used|size"}[5m])',
    'absent(nothing{host!="a", host="b", disk="1", disk="1"})',
    'absent(nothing{host="a", host!="b"})',
    "rate(odd[3m] offset 6m)",
    "avg by (host) (odd)",
    "min(odd) or max(odd)",
    "odd > bool 0",
    "odd != odd",
]

LEAVES = st.sampled_from(
    [
        *("used", "size", "odd", "nothing", "time()", "1", "0", "2.5", "NaN", "Inf"),
        *('used{host="a"}', 'size{disk!="1"}', 'used{host=~"b|c"}', 'size{host!~"a"}'),
        *('{host="a"}', '{__name__=~"used|size"}', 'errors_total{missing=""}'),
        *("rate(errors_total[5m])", "rate(odd[5m])", "increase(used[3m])"),
        *("max_over_time(odd[2m])", "avg_over_time(odd[90s])", "used offset 2m"),
    ]
)
# Not ^: the last bit of a power is the library's own, and % makes the whole of it.
QUESTIONS_AT_RANDOM = expressions(LEAVES, labels=LABELS, arithmetic=("+", "-", "*", "/", "%"))


@pytest.fixture(scope="session")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server over blocks made of SERIES."""
    directory = tmp_path_factory.mktemp("prometheus")
    lines = []
    for name, rows in SERIES.items():
        # OpenMetrics puts _total behind a counter's name; as untyped samples names stay as is.
        lines.append(f"# TYPE {name} unknown")
        for (host, disk), values in rows.items():
            lines += [
                f'{name}{{host="{host}",disk="{disk}"}} {value} {START + STEP * step}'
                for step, value in enumerate(values)
            ]
    (directory / "data.om").write_text("\n".join([*lines, "# EOF"]) + "\n")
    (directory / "prometheus.yml").write_text("global: {}\n")
    subprocess.run(
        ["promtool", "tsdb", "create-blocks-from", "openmetrics", "data.om", "tsdb"],
        cwd=directory,
        check=True,
        capture_output=True,
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen(
            [
                *("prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=tsdb"),
                *(f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.retention.time=10y"),
            ],
            cwd=directory,
            stdout=log,
            stderr=log,
        )
    try:
        _wait_until_ready(f"http://127.0.0.1:{port}", directory / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def _wait_until_ready(url: str, log: Path) -> None:
    for _ in range(200):
        try:
            urllib.request.urlopen(f"{url}/-/ready", timeout=5).close()
        except OSError:
            time.sleep(0.05)  # another program's start: it is asked, often and boundedly
        else:
            return
    raise AssertionError(log.read_text())


@pytest.fixture(scope="module")
def table() -> SeriesTable:
    table = SeriesTable(retention_s=36_000)
    families = [Family(name, MetricType.GAUGE, name, LABELS) for name in SERIES]
    table.declare("p", families, max_age_s=300)
    for step in range(STEPS):
        rows = {
            name: [Row(labels, values[step]) for labels, values in series.items()]
            for name, series in SERIES.items()
        }
        table.feed(Frame(Scope("p"), float(START + STEP * step), rows=rows))
    return table


def ask_prometheus(url: str, text: str) -> dict[tuple[tuple[str, str], ...], float] | None:
    query = urllib.parse.urlencode({"query": text, "time": AT})
    try:
        with urllib.request.urlopen(f"{url}/api/v1/query?{query}", timeout=10) as response:
            answer = json.load(response)["data"]
    except urllib.error.HTTPError as error:
        if error.code not in (400, 422):
            raise
        return None
    if answer["resultType"] == "scalar":
        return {(): float(answer["result"][1])}
    return {
        tuple(sorted(row["metric"].items())): float(row["value"][1]) for row in answer["result"]
    }


def ask_ours(table: SeriesTable, text: str) -> dict[tuple[tuple[str, str], ...], float] | None:
    try:
        answer = Plan(parse(text)).evaluate(table, float(AT))
    except ExpressionError:
        return None
    return {tuple(sorted(row.labels.items())): row.value for row in answer.rows}


def assert_both_answer_alike(url: str, table: SeriesTable, text: str) -> None:
    theirs, ours = ask_prometheus(url, text), ask_ours(table, text)
    assert (theirs is None) == (ours is None), text
    if theirs is None or ours is None:
        return
    assert ours.keys() == theirs.keys(), text
    for labels, value in theirs.items():
        if math.isnan(value):
            assert math.isnan(ours[labels]), text
        else:
            assert ours[labels] == pytest.approx(value, rel=1e-9), text


@pytest.mark.timeout(60)  # the first case starts the server
@pytest.mark.parametrize("text", QUESTIONS)
def test_both_give_the_same_answer(prometheus: str, table: SeriesTable, text: str) -> None:
    assert_both_answer_alike(prometheus, table, text)


@given(text=QUESTIONS_AT_RANDOM)
# The same questions every time: sums in another order differ in their last bit.
@settings(max_examples=300, deadline=None, derandomize=True)
@pytest.mark.timeout(60)
def test_both_give_the_same_answer_to_any_question(
    prometheus: str, table: SeriesTable, text: str
) -> None:
    assert_both_answer_alike(prometheus, table, text)
