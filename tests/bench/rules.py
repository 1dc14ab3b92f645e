"""Measurements of the engine, within this process."""

import time

from bench.measure import Bench, Figure, Samples
from storewatchd.core.engine import Engine
from storewatchd.core.frames import Family, Frame, MetricType, Row, Scope
from storewatchd.core.incidents import Incidents
from storewatchd.core.model import Instant
from storewatchd.core.rules import RuleFile, load
from storewatchd.core.series import SeriesTable

NOON = 1_767_268_800.0
FAMILIES = 10
SERIES = 1_000  # of each family
RULES = 50
WARM_UP = 12  # rounds until every window is full
ROUNDS = 60


def _rules() -> Samples:
    scope = Scope("probe")
    families = [
        Family(f"disk_{n}_used_bytes", MetricType.GAUGE, "Bytes used.", ("disk", "pool"))
        for n in range(FAMILIES)
    ]
    table = SeriesTable()
    table.declare("probe", families, max_age_s=90)
    text = ["groups:", "- name: bench", "  interval: 1s", "  rules:"]
    for n in range(RULES):
        family = families[n % FAMILIES].name
        expression = (
            f"{family} / 1000 > {0.955 + n / 10_000}",
            f'{family}{{pool=~"p[0-4]"}} > 999.5',
            f"max by (pool) ({family}) > 2000",
            f"rate({family}[2m]) > 100",
            f"avg_over_time({family}[5m]) > 999.5 unless {family} < 1",
        )[n // FAMILIES]
        text += [f"  - alert: Rule{n}", f"    expr: {expression}"]
    rules, problems = load([RuleFile("bench.yml", "\n".join(text), "bench")])
    assert not problems, problems
    ids = iter(range(10**9))
    engine = Engine(table, Incidents("node", lambda _: str(next(ids))), rules)
    for turn in range(WARM_UP + ROUNDS):
        wall = NOON + 30 * turn
        rows = {
            family.name: [
                Row((f"disk{s}", f"p{s % 10}"), float((s * 7 + turn) % 1000)) for s in range(SERIES)
            ]
            for family in families
        }
        began = time.perf_counter()
        touched = table.feed(Frame(scope, wall, rows=rows))
        fed = time.perf_counter()
        engine.evaluate(Instant(wall, 30.0 * turn), touched)
        judged = time.perf_counter()
        if turn >= WARM_UP:
            yield f"feed of {FAMILIES * SERIES} rows", 1000 * (fed - began)
            yield f"{RULES} rules, {FAMILIES * SERIES} series", 1000 * (judged - fed)


BENCHES = (
    Bench(
        "rules",
        "a mix of ratios, matchers, groups, rates and windows, hundreds of alerts open",
        (
            Figure(f"{RULES} rules, {FAMILIES * SERIES} series", "ms", 15),
            Figure(f"feed of {FAMILIES * SERIES} rows", "ms"),
        ),
        _rules,
    ),
)
