"""State that was lost, from the records that tell of it.

The newest record of an alert, of a run, of a repository or token says what was so then; what must
be there by that and is not, is put back. What a record does not tell, as the counts of a task's
runs, stays lost.
"""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from storewatchd.core.incidents import Incident
from storewatchd.core.model import Alert, EventType, Instant, fingerprint
from storewatchd.core.objects import Object, ObjectChange
from storewatchd.core.tasks import TaskRun
from storewatchd.journal import Journal, Rebuild, StateChange, StoredRecord
from storewatchd.monitor.batch import ALERT, OBJECT, TASK

logger = logging.getLogger(__name__)

_decode = msgspec.json.decode
_encode = msgspec.json.encode

PAGE = 1_000
_TYPES = (EventType.ALERT, EventType.TASK, "state", OBJECT)

Place = tuple[str, str]
"""Kind and key of a piece of state."""


async def rebuild_from_records(journal: Journal, now: Instant) -> None:
    """Put back what is missing of the state, if the journal says that there may be such.

    Raises:
        JournalError: it cannot be read or written.
    """
    if journal.rebuild is not Rebuild.RECORDS:
        return
    told = Told()
    after = 0
    while records := await journal.read(after, PAGE, types=_TYPES):
        told.take(records)
        after = records[-1].seq
    wanted = told.state(now)
    known = {
        (kind, key) for kind in {kind for kind, _ in wanted} for key in await journal.state(kind)
    }
    changes = [StateChange(*place, value) for place, value in wanted.items() if place not in known]
    await journal.append((), changes, rebuild=Rebuild.STORE)
    if changes:
        logger.warning("%d pieces of state were lost and put back from records", len(changes))


class Told:
    """What records tell of the state; take them in their order."""

    def __init__(self) -> None:
        self._alerts: dict[str, tuple[Alert, Mapping[str, Any]]] = {}
        self._runs: dict[str, bytes] = {}
        self._others: dict[Place, bytes] = {}

    def take(self, records: Iterable[StoredRecord]) -> None:
        for record in records:
            match record.type:
                case EventType.ALERT:
                    self._take_alert(record)
                case EventType.TASK:
                    self._take_run(record)
                case kind if kind == OBJECT:
                    self._take_object(record)
                case _:
                    self._take_other(record)

    def state(self, now: Instant) -> dict[Place, bytes]:
        """Return the pieces of state that must be there, by these records."""
        alerts = {
            (ALERT, alert_id): _encode(incident_of(alert, reason, now).to_state(now))
            for alert_id, (alert, reason) in self._alerts.items()
        }
        runs = {(TASK, run_id): state for run_id, state in self._runs.items()}
        return {**alerts, **runs, **self._others}

    def _take_alert(self, record: StoredRecord) -> None:
        alert = Alert.from_json(_decode(record.data))
        if not alert.is_open:
            self._alerts.pop(alert.id, None)
            return
        _, reason = self._alerts.get(alert.id, (alert, {}))
        self._alerts[alert.id] = (alert, {**reason, **_decode(record.reason)})

    def _take_run(self, record: StoredRecord) -> None:
        run = TaskRun.from_state(_decode(record.data))
        if run.is_over:
            self._runs.pop(run.id, None)
        else:
            self._runs[run.id] = record.data

    def _take_object(self, record: StoredRecord) -> None:
        if record.kind == ObjectChange.FORGOTTEN:
            self._others.pop((OBJECT, record.key), None)
        else:
            one = Object.from_state(_decode(record.data))
            self._others[OBJECT, record.key] = _encode(one.to_state())

    def _take_other(self, record: StoredRecord) -> None:
        told = _decode(record.data)
        place = (told["kind"], told["key"])
        if told["value"] is None:
            self._others.pop(place, None)
        else:
            self._others[place] = _encode(told["value"])


def incident_of(alert: Alert, reason: Mapping[str, Any], now: Instant) -> Incident:
    """Return the incident of an open alert. `reason` is what its records say of why: the series
    for an alert of a rule, and key and time to live for one that was created."""

    def ago_s(wall: float) -> float:
        return max(0.0, now.wall - wall)

    key, ttl_s = reason.get("key"), reason.get("ttl_seconds")
    if alert.rule:
        identity = fingerprint(alert.rule, alert.labels)
    else:
        identity = f"id:{alert.id}" if key is None else f"key:{key}"
    series = {
        name: value
        for name, value in reason.get("series", alert.labels).items()
        if name != "__name__"
    }
    return Incident(
        alert=alert,
        key=identity,
        series=series if alert.rule else {},
        since=now.awake - ago_s(alert.first_seen),
        frozen_since=None if alert.stale_since is None else now.awake - ago_s(alert.stale_since),
        expires=None if ttl_s is None else now.monotonic - ago_s(alert.last_seen) + ttl_s,
    )
