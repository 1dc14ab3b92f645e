"""Why an answer is not known: what cannot be seen, since when, or not yet for long enough."""

import pytest

from core.fix_engine import MAX_AGE_S, Desk, rule
from storewatchd.core.frames import Frame, Outcome, Row, Scope
from storewatchd.core.sight import BLINDNESS, BLINDNESS_FAMILIES, Sight, told_scopes
from storewatchd.core.unseen import why_unknown

BOTH = rule() + "\n    - record: full:max\n      expr: max(full)"
SCOPES = [Scope("probe", (("repository", name),)) for name in "abcd"]


def why(desk: Desk, number: int = 0) -> str:
    return why_unknown(desk.rules.rules[number].plan, desk.table, desk.now.wall)


def test_what_is_seen_is_no_reason() -> None:
    desk = Desk(rule())
    desk.see({"a": 0.5})
    assert why(desk) == ""


def test_a_failed_probe_is_named_with_its_reason() -> None:
    desk = Desk(rule())
    desk.see({"a": 0.5})
    desk.fail()
    assert why(desk) == "probe cannot be seen: stuck"


def test_a_probe_whose_looks_are_too_old_is_named() -> None:
    desk = Desk(rule())
    desk.see({"a": 0.5})
    desk.later(1000)
    assert why(desk) == "the last look at probe is too old"


def test_a_probe_of_which_nothing_is_known_yet_is_named() -> None:
    assert why(Desk(rule())) == "probe cannot be seen whole"


def test_scopes_are_named_and_counted_where_they_are_many() -> None:
    desk = Desk(rule())
    desk.table.expect("probe", SCOPES)
    for scope in SCOPES[:1]:
        desk.table.feed(Frame(scope, desk.now.wall, rows={"full": [Row(("a",), 0.5)]}))
    for scope in SCOPES[1:2]:
        desk.table.feed(Frame(scope, desk.now.wall, Outcome.FAILED))
    assert why(desk) == (
        "probe repository=b cannot be seen, "
        "probe repository=c was not looked at yet since the start and 1 more"
    )


def test_what_the_collector_tells_of_a_scope_is_told_as_that_scope() -> None:
    desk = Desk(rule("storewatch_probe_failed_looks >= 3"))
    desk.table.declare(BLINDNESS, BLINDNESS_FAMILIES, max_age_s=MAX_AGE_S)
    sights = [Sight(Scope("database"), 0.0), Sight(SCOPES[0], 0.0)]
    for probe, scopes in told_scopes(sights, ()):
        if probe == BLINDNESS:
            desk.table.expect(probe, scopes)
    assert why(desk) == (
        "database was not looked at often enough yet since the start, "
        "probe repository=a was not looked at often enough yet since the start"
    )


def test_what_reads_a_recording_says_so() -> None:
    desk = Desk(BOTH + "\n    - alert: High\n      expr: full:max > 0.8")
    desk.see({"a": 0.5})
    assert why(desk, 2) == ""
    desk.fail()
    assert why(desk, 2) == "part of what full:max records cannot be seen"


@pytest.mark.parametrize(
    ("seen_s", "said"),
    [
        pytest.param(
            180,
            "of the last 10m 0s probe was seen for 3m 0s: usual so soon after a start",
            id="not yet",
        ),
        pytest.param(570, "", id="long enough"),
    ],
)
def test_a_window_that_reaches_back_before_the_first_look_is_told(seen_s: int, said: str) -> None:
    desk = Desk(rule("avg_over_time(full[10m]) > 0.8"))
    for _ in range(seen_s // 30):
        desk.see({"a": 0.5})
        desk.later(30)
    desk.see({"a": 0.5})
    assert why(desk) == said
