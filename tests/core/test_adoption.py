"""What a table takes over from an earlier start: the past as it was known, and nothing of now."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from core.promql.fix_expressions import expressions
from core.promql.fix_law import assert_lawful
from core.promql.table import NOON, Bench
from core.promql.test_history import FAMILIES, HISTORIES, NOW, STEP_S, THEN, WINDOWS, Look, live
from storewatchd.core.frames import Family, Frame, MetricType, Row, Scope
from storewatchd.core.freeze import freeze, thaw
from storewatchd.core.promql import Plan, Result, parse
from storewatchd.core.rowstate import RowState
from storewatchd.core.series import Recorded, SeriesTable, recording
from storewatchd.errors import ExpressionError


def restarted(before: Bench) -> Bench:
    """Return a bench whose table has taken over what another one knew."""
    after = Bench(*FAMILIES)
    adopted(before.table, after.table)
    return after


@given(
    text=expressions(st.sampled_from([*NOW, *THEN, *WINDOWS]), labels=("s", "x"), max_leaves=3),
    history=HISTORIES,
    restarts=st.sets(st.integers(0, 6), max_size=3),
)
@settings(max_examples=200, deadline=None)
@pytest.mark.timeout(60)
def test_what_is_called_known_after_a_restart_is_true(
    text: str, history: list[tuple[Look, Look]], restarts: set[int]
) -> None:
    seen, truth = Bench(*FAMILIES), Bench(*FAMILIES)
    at = NOON
    for number, looks in enumerate(history):
        at += STEP_S
        if number in restarts:
            seen = restarted(seen)
        live(seen, looks, at, is_truth=False)
        live(truth, looks, at, is_truth=True)
    try:
        answer, real = seen.ask(text, at + 5), truth.ask(text, at + 5)
    except ExpressionError:
        assume(False)
    assert_lawful(answer, real)


GAUGE = Family("g", MetricType.GAUGE, "A gauge.", ("x",))
SCOPE = Scope("p", (("x", "1"),))


def table(*families: Family) -> SeriesTable:
    made = SeriesTable()
    made.declare("p", families or [GAUGE], max_age_s=100)
    return made


def adopted(before: SeriesTable, after: SeriesTable) -> SeriesTable:
    series, probes = before.parts()
    after.adopt(
        {name: thaw(freeze(one)) for name, one in series.items()},
        {name: thaw(freeze(one)) for name, one in probes.items()},
    )
    return after


def seen(*scopes: Scope) -> SeriesTable:
    """Return a table that looked at some scopes at noon, and found a row in each."""
    made = table()
    for scope in scopes:
        row = Row((dict(scope.labels)["x"],), 1.0)
        made.feed(Frame(scope, NOON, rows={"g": [row]}))
    return made


def ask(one: SeriesTable, text: str, after_s: float) -> Result:
    return Plan(parse(text)).evaluate(one, NOON + after_s)


def test_rows_stay_unknown_until_a_look_tells_which_are_gone() -> None:
    after = adopted(seen(SCOPE), table())
    assert len(after) == 1
    before = ask(after, "g", 10)
    assert ([row.exact for row in before.rows], before.holes) == ([False], ({},))
    after.feed(Frame(SCOPE, NOON + 20, rows={"g": []}))
    gone = ask(after, "g", 20)
    assert (gone.rows, gone.holes) == ([], ())


def test_a_scope_that_is_not_there_any_more_takes_its_rows_with_it() -> None:
    after = adopted(seen(SCOPE), table())
    after.expect("p", [])
    found = ask(after, "g", 10)
    assert (found.rows, found.holes) == ([], ())


def test_a_scope_that_was_gone_before_stays_gone() -> None:
    before = seen(SCOPE, Scope("p", (("x", "2"),)))
    before.expect("p", [SCOPE])
    after = adopted(before, table())
    assert [row.labels["x"] for row in ask(after, "g", 10).rows] == ["1"]
    assert [state.scope for state in after.scopes()] == [SCOPE]


def test_a_family_that_has_other_labels_now_has_no_past() -> None:
    other = Family("g", MetricType.GAUGE, "A gauge.", ("x", "y"))
    after = adopted(seen(SCOPE), table(other))
    assert len(after) == 0
    after.feed(Frame(SCOPE, NOON + 30))
    found = ask(after, "g offset 30s", 30)
    assert (found.rows, found.holes) == ([], ({"x": "1"},))
    assert ask(after, "g", 30).holes == ()


def test_a_family_of_a_probe_that_is_no_more_is_left_out() -> None:
    after = SeriesTable()
    after.declare("q", [Family("h", MetricType.GAUGE, "")], max_age_s=100)
    adopted(seen(SCOPE), after)
    assert set(after.families()) == {"h"}
    assert after.scopes() == []


def test_rows_of_a_scope_that_was_found_after_the_scopes_were_written_are_gone() -> None:
    before = seen(SCOPE)
    probes = {name: thaw(freeze(one)) for name, one in before.parts()[1].items()}
    before.feed(Frame(Scope("p", (("x", "2"),)), NOON, rows={"g": [Row(("2",), 2.0)]}))
    after = table()
    after.adopt({name: thaw(freeze(one)) for name, one in before.parts()[0].items()}, probes)
    assert [row.labels["x"] for row in ask(after, "g", 10).rows] == ["1"]
    after.feed(Frame(Scope("p", (("x", "2"),)), NOON + 10, rows={"g": [Row(("2",), 2.0)]}))
    assert [row.value for row in ask(after, "g", 10).rows if row.exact] == [2.0]


def test_places_of_scopes_that_are_gone_are_not_taken_over() -> None:
    scopes = [Scope("p", (("x", str(number)),)) for number in range(5)]
    before = seen(*scopes)
    owner = before.parts()[1]["p"]
    for scope in scopes[:4]:  # as an earlier version left them
        owner.states[owner.scopes.pop(scope)] = None
    after = adopted(before, table())
    assert len(after.parts()[1]["p"].states) == 2
    assert [row.labels["x"] for row in ask(after, "g", 10).rows] == ["4"]
    after.feed(Frame(scopes[0], NOON + 10, rows={"g": [Row(("0",), 1.0)]}))
    assert {row.labels["x"]: row.exact for row in ask(after, "g", 10).rows} == {
        "0": True,
        "4": False,
    }


def test_a_family_that_its_probe_does_not_have_any_more_is_left_out() -> None:
    before = table(GAUGE, Family("h", MetricType.GAUGE, "Another.", ("x",)))
    before.feed(Frame(SCOPE, NOON, rows={"g": [Row(("1",), 1.0)], "h": [Row(("1",), 1.0)]}))
    after = adopted(before, table())
    assert (set(after.families()), len(after)) == ({"g"}, 1)


def test_what_a_rule_recorded_under_the_name_of_a_probe_s_family_is_left_out() -> None:
    before = SeriesTable()
    before.keep_recordings([recording("g", {})])
    before.record(recording("g", {}), [Recorded({"x": "1"}, 1.0, RowState.EXACT)], (), NOON)
    after = adopted(before, table())
    after.keep_recordings([])
    after.feed(Frame(SCOPE, NOON + 10, rows={"g": [Row(("1",), 2.0)]}))
    assert [row.value for row in ask(after, "g", 10).rows] == [2.0]


def test_a_recording_is_taken_over_with_its_rows_or_not_at_all() -> None:
    before = table()
    scope = recording("r", {})
    before.keep_recordings([scope])
    before.record(scope, [Recorded({"a": "1"}, 1.0, RowState.EXACT)], (), NOON)
    after = adopted(before, table())
    assert [row.exact for row in ask(after, "r", 1).rows] == [False]
    bare = table()
    bare.adopt({}, {name: thaw(freeze(one)) for name, one in before.parts()[1].items()})
    assert set(bare.families()) == {"g"}
    bare.keep_recordings([])


def test_what_is_declared_is_no_name_for_a_recording() -> None:
    made = table()
    made.keep_recordings([recording("r", {})])
    assert made.probe_families() == {"g"}
    assert made.families().keys() == {"g", "r"}
