"""Which scopes were known when a rule was evaluated, and for how long one of them was not since.

No frame says that a look has become too old, and a daemon that is held up notices it late. So a
rule is evaluated again once a scope that it saw is not known any more, and the time that nobody
could look counts for no duration, whenever it is noticed.
"""

from collections.abc import Mapping
from functools import cached_property

from storewatchd.core.clocks import wall_of
from storewatchd.core.frames import Scope
from storewatchd.core.holes import Hole, is_compatible
from storewatchd.core.model import Instant
from storewatchd.core.series import SeriesTable

Scopes = dict[Scope, None]
Known = Mapping[str, Scopes]
"""By probe, the scopes that are known."""

TRIFLE_S = 0.001
"""What is shorter is an error of rounding."""


class KnownScopes:
    """The scopes that are known and may become too old; the same object while nothing changes."""

    def __init__(self, table: SeriesTable) -> None:
        self._table = table
        self._by_probe: dict[str, Scopes] = {}

    def look(self, at: float) -> Known:
        """Return the scopes that are known at a moment that is now."""
        found: dict[str, Scopes] = {}
        _, owners = self._table.parts()
        for probe, owner in owners.items():
            if owner.max_age_s == float("inf"):
                continue
            states = owner.states
            scopes = dict.fromkeys(one.scope for one in states if one and one.is_known(at))
            before = self._by_probe.get(probe)
            if scopes:
                found[probe] = before if before == scopes else scopes
        self._by_probe = found
        return found


def has_lapsed(seen: Known, known: Known) -> bool:
    """Return whether a scope that was seen is not known any more."""
    return any(
        scopes is not known.get(probe) and not scopes.keys() <= known.get(probe, {}).keys()
        for probe, scopes in seen.items()
    )


class Unseen:
    """For how long, since a rule was last evaluated, nobody could look at what it reads.

    `inputs` are the probes that it reads, and whether the labels of their scopes are also those of
    its rows; `since` is when it was evaluated (monotonic), and saw the scopes that it saw.
    """

    def __init__(
        self,
        table: SeriesTable,
        inputs: Mapping[str, bool],
        *,
        seen: Known,
        since: float,
        now: Instant,
    ) -> None:
        self._table = table
        self._inputs = inputs
        self._seen = seen
        self._since = since
        self._now = now

    def seconds(self, series: Mapping[str, str]) -> float:
        """Return the longest time that a scope was not known which a series may be about."""
        return max(
            (unseen_s for labels, unseen_s in self._lapses if is_compatible(labels, series)),
            default=0.0,
        )

    @cached_property
    def _lapses(self) -> list[tuple[Hole, float]]:
        end = self._now.wall
        start = wall_of(self._since, self._now)
        found: list[tuple[Hole, float]] = []
        for probe, is_direct in self._inputs.items():
            scopes = self._seen.get(probe, {})
            for state in self._table.scopes(probe) if scopes else ():
                unseen_s = end - start - state.known_s(start, end)
                if state.scope in scopes and unseen_s > TRIFLE_S:
                    found.append((dict(state.scope.labels) if is_direct else {}, unseen_s))
        return found
