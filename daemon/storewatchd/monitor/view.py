"""What lists show: open alerts and running tasks, and those that are over but not yet confirmed
by PostgreSQL. It changes when the journal has what changed, or is known not to get it soon."""

from collections import deque
from collections.abc import Collection, Iterator
from heapq import nsmallest

from storewatchd.core.frames import ObjectKind
from storewatchd.core.model import Alert
from storewatchd.core.newest import NewestFirst
from storewatchd.core.objects import Key, Object
from storewatchd.core.queries import AlertQuery, ObjectPlace, ObjectQuery, Position
from storewatchd.core.tasks import TaskRun

KEPT_UNCONFIRMED = 100_000
"""How many finished rows wait in memory for PostgreSQL; beyond that the oldest are left to the
journal alone."""


class View:
    """The visible rows of this node."""

    def __init__(self) -> None:
        self._alerts: NewestFirst[Alert] = NewestFirst(
            lambda alert: Position.of(alert.first_seen, alert.id)
        )
        self._runs: NewestFirst[TaskRun] = NewestFirst(
            lambda run: Position.of(run.first_seen, run.id)
        )
        self._objects: dict[Key, Object] = {}
        self._over: deque[tuple[int, Alert | TaskRun]] = deque()

    def put_alert(self, alert: Alert, seq: int) -> None:
        """Show an alert as it is since the record with this number."""
        self._alerts.put(alert)
        if not alert.is_open:
            self._note_over(seq, alert)

    def put_run(self, run: TaskRun, seq: int) -> None:
        """Show a task's run as it is since the record with this number."""
        self._runs.put(run)
        if run.is_over:
            self._note_over(seq, run)

    def put_object(self, key: Key, one: Object | None) -> None:
        """Show an object as it is now, or with None no more."""
        if one is None:
            self._objects.pop(key, None)
        else:
            self._objects[key] = one

    def refresh(self, alert: Alert) -> None:
        """Show what changed in memory only, of an alert that is shown."""
        known = self._alerts.get(alert.id)
        if known is not None and known.version == alert.version:
            self._alerts.put(alert)

    def confirm(self, seq: int) -> None:
        """Let go of what is over and confirmed up to a number."""
        while self._over and self._over[0][0] <= seq:
            self._forget_oldest()

    def alert(self, alert_id: str) -> Alert | None:
        return self._alerts.get(alert_id)

    def run(self, run_id: str) -> TaskRun | None:
        return self._runs.get(run_id)

    def alerts(self, query: AlertQuery, after: Position | None) -> Iterator[Alert]:
        """Yield matching alerts after a position, newest first."""
        return filter(query.admits, self._alerts.after(after))

    def runs(
        self, name: str | None, states: Collection[str] | None, after: Position | None
    ) -> Iterator[TaskRun]:
        """Yield matching runs after a position, newest first."""
        return (
            run
            for run in self._runs.after(after)
            if (name is None or run.name == name) and (states is None or run.state in states)
        )

    def object(self, kind: ObjectKind, object_id: str) -> Object | None:
        return self._objects.get((kind, object_id))

    def objects(self, query: ObjectQuery, after: ObjectPlace | None, most: int) -> list[Object]:
        """Return the first matching objects after a place, by kind and id."""
        keys = [
            key
            for key, one in self._objects.items()
            if (after is None or key > after) and query.admits(one)
        ]
        return [self._objects[key] for key in nsmallest(most, keys)]

    def all_alerts(self) -> Iterator[Alert]:
        return iter(self._alerts)

    def _note_over(self, seq: int, row: Alert | TaskRun) -> None:
        self._over.append((seq, row))
        if len(self._over) > KEPT_UNCONFIRMED:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        _, row = self._over.popleft()
        rows = self._alerts if isinstance(row, Alert) else self._runs
        # One that was put since under the same id waits for its own number.
        if rows.get(row.id) is row:
            rows.discard(row.id)
