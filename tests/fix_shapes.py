"""Wire shapes with nothing special about them, for tests to change what matters."""

from typing import Any

import msgspec

from storewatch.wire import types

NOON = "2026-01-01T12:00:00.000Z"


def alert(number: int = 1, **changes: Any) -> dict[str, Any]:
    """Return a firing alert; its id ends in its number."""
    plain = types.Alert(
        id=f"01900000-0000-7000-8000-{number:012d}",
        rule="StorageCapacityWarning",
        severity="warning",
        source="storage",
        title="Repository archive is 85 % full",
        message="It fills up.",
        resource_type="repository",
        resource_id="archive",
        labels={"repository": "archive"},
        annotations={},
        state="firing",
        acknowledged=False,
        acknowledged_by=None,
        acknowledged_at=None,
        acknowledged_note=None,
        silenced_by=[],
        inhibited_by=[],
        stale_since=None,
        flapping=False,
        first_seen=NOON,
        last_seen=NOON,
        occurrences=1,
        resolved_at=None,
        resolved_by=None,
        node="peer",
        version=1,
    )
    return {**_shape(plain), **changes}


def alert_list(*alerts: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return a complete last page."""
    return {
        "alerts": list(alerts),
        "next_cursor": None,
        "complete": True,
        "incomplete_reason": None,
        **changes,
    }


def task(**changes: Any) -> dict[str, Any]:
    """Return a run that failed with status 3."""
    plain = types.Task(
        id="01900000-0000-7000-8000-0000000000aa",
        name="nightly",
        type="backup",
        state="failed",
        started_at=NOON,
        finished_at="2026-01-01T12:00:03.000Z",
        duration_seconds=3.0,
        progress_percent=None,
        message="",
        exit_status=3,
        signal=None,
        output="begun\nboom\n",
        bytes=None,
        reported_by="root",
        node="peer",
        version=2,
    )
    return {**_shape(plain), **changes}


def token(**changes: Any) -> dict[str, Any]:
    """Return a token that may read."""
    plain = types.Token(
        id="01900000-0000-7000-8000-0000000000bb",
        name="grafana",
        permissions=["monitoring:read"],
        created_at=NOON,
        created_by="root",
        expires_at=None,
        last_used_at=None,
        revoked_at=None,
    )
    return {**_shape(plain), **changes}


def _shape(value: Any) -> dict[str, Any]:
    shape = msgspec.to_builtins(value)
    assert isinstance(shape, dict)
    return shape
