"""Why an expression's answer is not known, in words: what of its inputs cannot be seen."""

from collections.abc import Iterator, Mapping

from storewatchd.core.frames import Outcome
from storewatchd.core.promql import Plan
from storewatchd.core.rows import Series
from storewatchd.core.scopes import ScopeState
from storewatchd.core.series import WINDOW_COVERAGE, SeriesTable, recording
from storewatchd.core.sight import BLINDNESS, COLLECTOR
from storewatchd.core.templates.functions import FUNCTIONS

_TOLD = 2
"""How many things that are not seen are named."""


def why_unknown(plan: Plan, table: SeriesTable, at: float) -> str:
    """Return what of an expression's inputs is not seen at a moment that is now; nothing where all
    of it is, as it may be again since the answer."""
    inputs = [
        series
        for name in sorted(plan.families(table))
        if (series := table.series(name)) is not None
    ]
    unseen = list(dict.fromkeys(one for series in inputs for one in _unseen(series, table, at)))
    if unseen:
        more = len(unseen) - _TOLD
        return ", ".join(unseen[:_TOLD]) + (f" and {more} more" if more > 0 else "")
    return _short_of_a_window(inputs, plan.reach_s, table, at)


def _unseen(series: Series, table: SeriesTable, at: float) -> Iterator[str]:
    name, probe = series.family.name, series.probe
    holes = table.holes(series, at)
    if probe == recording(name, {}).probe:
        if holes or not all(row.exact for row in table.read(name, at)):
            yield f"part of what {name} records cannot be seen"
        return
    states = {
        tuple(sorted(state.scope.labels)): state
        for state in table.scopes(probe)
        if not state.is_known(at)
    }
    for hole in holes:
        yield _sentence(probe, hole, states.get(tuple(sorted(hole.items()))))


def _sentence(probe: str, labels: Mapping[str, str], state: ScopeState | None) -> str:
    scope = ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
    if probe in (BLINDNESS, COLLECTOR):  # their labels name what they are about
        probe, scope = labels.get("probe", probe), labels.get("scope", "")
        often = " often enough"
    else:
        often = ""
    what = f"{probe} {scope}" if scope else probe
    if state is None:
        return f"{what} cannot be seen whole"
    if state.outcome is None:
        return f"{what} was not looked at{often} yet since the start"
    if state.outcome is Outcome.FAILED:
        return (
            f"{what} cannot be seen: {state.reason}" if state.reason else f"{what} cannot be seen"
        )
    return f"the last look at {what} is too old"


def _short_of_a_window(inputs: list[Series], reach_s: float, table: SeriesTable, at: float) -> str:
    """Return which input was not seen for long enough to say what it did in a window."""
    seen = [
        (min(state.known_s(at - reach_s, at), reach_s), series.probe)
        for series in inputs
        for state in table.scopes(series.probe)
    ]
    shortest_s, probe = min(seen, default=(reach_s, ""))
    if shortest_s >= WINDOW_COVERAGE * reach_s:
        return ""
    words = FUNCTIONS["humanizeDuration"]
    return (
        f"of the last {words(reach_s)} {probe} was seen for {words(float(round(shortest_s)))}: "
        "usual so soon after a start"
    )
