"""Records of a journal with nothing special about them, and a disk that is full for a while."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from fakes import NOON
from storewatchd.core.model import Alert, AlertState, Severity
from storewatchd.core.tasks import TaskRun, TaskState
from storewatchd.journal import Record, StoredRecord


@contextmanager
def no_room(beyond: int = 0) -> Iterator[None]:
    """Refuse, as a full disk does, whatever would make a file longer than so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (beyond, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def record(seq: int, **changes: Any) -> Record:
    """Return what to append under a number."""
    plain: dict[str, Any] = {"time": NOON + seq, "type": "system", "kind": "noted"}
    return Record(seq, **{**plain, "data": b'{"number":%d}' % seq, **changes})


def stored(seq: int, **changes: Any) -> StoredRecord:
    """Return a record as the journal gives it back."""
    plain: dict[str, Any] = {
        "node": "node",
        "epoch": "e1",
        "time": NOON + seq,
        "type": "system",
        "kind": "noted",
        "key": "",
        "event": True,
        "data": b'{"number":%d}' % seq,
        "reason": b"{}",
    }
    return StoredRecord(seq=seq, **{**plain, **changes})


def alert(node: str, number: int = 1, **changes: Any) -> Alert:
    """Return a resolved alert that was first seen so many seconds after noon."""
    plain: dict[str, Any] = {
        "id": f"{node}-{number:06d}",
        "node": node,
        "rule": "Full",
        "source": "storage",
        "severity": Severity.WARNING,
        "title": "It is full",
        "message": "",
        "version": 3,
        "state": AlertState.RESOLVED,
        "first_seen": NOON + number,
        "last_seen": NOON + number,
        "resolved_at": NOON + number + 60,
        "resolved_by": "rule",
    }
    return Alert(**{**plain, **changes})


def alert_record(seq: int, of: Alert, **changes: Any) -> StoredRecord:
    """Return the record of an alert's transition."""
    data = msgspec.json.encode(of.to_json())
    plain = {"type": "alert", "kind": of.state.value, "key": of.id, "node": of.node, "data": data}
    return stored(seq, **{**plain, **changes})


def run(node: str, number: int = 1, **changes: Any) -> TaskRun:
    """Return a completed run that was first seen so many seconds after noon."""
    plain: dict[str, Any] = {
        "id": f"run-{number:06d}",
        "node": node,
        "name": "nightly",
        "type": "backup",
        "state": TaskState.COMPLETED,
        "first_seen": NOON + number,
        "version": 2,
        "started_at": NOON + number,
        "finished_at": NOON + number + 3,
        "exit_status": 0,
    }
    return TaskRun(**{**plain, **changes})


def run_record(seq: int, of: TaskRun, **changes: Any) -> StoredRecord:
    """Return the record of a run's end."""
    data = msgspec.json.encode(of.to_state())
    plain = {"type": "task", "kind": "end", "key": of.id, "node": of.node, "data": data}
    return stored(seq, **{**plain, **changes})
