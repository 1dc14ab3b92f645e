"""The shapes of every answer, the same over HTTP, RPC and `--json`.

Times are RFC 3339 in UTC with milliseconds; ids are strings; ratios are 0 to 1, percents 0 to
100; an unknown number is null, never 0.
"""

from typing import Any, Literal

import msgspec

Severity = Literal["info", "warning", "critical"]
State = Literal["pending", "firing", "resolved"]
EventTypeName = Literal["alert", "task", "system", "storage", "scst", "tape", "vtl", "metrics"]
HealthStatus = Literal["healthy", "degraded", "unhealthy", "unknown"]
TaskState = Literal["pending", "running", "completed", "failed"]
RowStateName = Literal["exact", "at_least", "at_most", "unknown"]
PermissionName = Literal["monitoring:read", "monitoring:write", "monitoring:admin"]


class Alert(msgspec.Struct, kw_only=True):
    """One incident."""

    id: str
    rule: str
    severity: Severity
    source: str
    title: str
    message: str
    resource_type: str
    resource_id: str
    labels: dict[str, str]
    annotations: dict[str, str]
    state: State
    acknowledged: bool
    acknowledged_by: str | None
    acknowledged_at: str | None
    acknowledged_note: str | None
    silenced_by: list[str]
    inhibited_by: list[str]
    stale_since: str | None
    flapping: bool
    first_seen: str
    last_seen: str
    occurrences: int
    resolved_at: str | None
    resolved_by: str | None
    node: str
    version: int


class AlertList(msgspec.Struct, kw_only=True):
    """One page of alerts, newest first; `complete` is false when history could not be asked."""

    alerts: list[Alert]
    next_cursor: str | None
    complete: bool
    incomplete_reason: str | None


class TimelineEntry(msgspec.Struct, kw_only=True):
    """One transition of an alert: what changed, when, and why."""

    id: str  # the event's id
    seq: int
    timestamp: str
    kind: str
    reason: dict[str, Any]


class AlertDetail(msgspec.Struct, kw_only=True):
    """One alert with its timeline, oldest transition first."""

    alert: Alert
    timeline: list[TimelineEntry]
    complete: bool
    incomplete_reason: str | None


class Event(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One thing that happened. `id` is opaque and what `since` takes. It is `unjournalled`, and
    only then says so, if it should have been on disk before it was told, and could not."""

    id: str
    seq: int
    node: str
    timestamp: str
    type: EventTypeName
    kind: str
    data: Any
    unjournalled: bool = False


class EventList(msgspec.Struct, kw_only=True):
    """Journalled events, oldest first. `gap` says that some of what was asked for are gone."""

    events: list[Event]
    gap: bool


class HealthComponent(msgspec.Struct, kw_only=True):
    """How one part stands; times are null before its first check."""

    name: str
    status: HealthStatus
    message: str
    checked_at: str | None
    duration_ms: float | None


class Health(msgspec.Struct, kw_only=True):
    """The whole is the worst of the parts that matter."""

    status: HealthStatus
    timestamp: str
    node: str
    components: list[HealthComponent]


class SystemMetrics(msgspec.Struct, kw_only=True):
    cpu_usage_percent: float | None
    memory_used_bytes: float | None
    memory_total_bytes: float | None
    memory_usage_percent: float | None
    disk_used_bytes: float | None
    disk_total_bytes: float | None
    disk_usage_percent: float | None
    uptime_seconds: float | None


class StorageMetrics(msgspec.Struct, kw_only=True):
    total_disks: float | None
    total_repositories: float | None
    total_capacity_bytes: float | None
    used_capacity_bytes: float | None
    available_bytes: float | None
    usage_percent: float | None


class ScstMetrics(msgspec.Struct, kw_only=True):
    total_targets: float | None
    total_luns: float | None
    total_initiators: float | None
    active_targets: float | None


class TapeMetrics(msgspec.Struct, kw_only=True):
    total_libraries: float | None
    total_drives: float | None
    total_slots: float | None
    occupied_slots: float | None


class VtlMetrics(msgspec.Struct, kw_only=True):
    total_libraries: float | None
    total_drives: float | None
    total_tapes: float | None
    active_drives: float | None
    loaded_tapes: float | None


class TaskMetrics(msgspec.Struct, kw_only=True):
    total_tasks: float | None
    pending_tasks: float | None
    running_tasks: float | None
    completed_tasks: float | None
    failed_tasks: float | None
    average_duration_seconds: float | None


class ApiMetrics(msgspec.Struct, kw_only=True):
    requests_total: float | None
    requests_per_second: float | None
    error_rate: float | None
    average_latency_ms: float | None
    p99_latency_ms: float | None
    websocket_clients: float | None


class Snapshot(msgspec.Struct, kw_only=True):
    """One look at everything; a part whose source is absent is null."""

    timestamp: str
    node: str
    system: SystemMetrics | None
    storage: StorageMetrics | None
    scst: ScstMetrics | None
    tape: TapeMetrics | None
    vtl: VtlMetrics | None
    tasks: TaskMetrics | None
    api: ApiMetrics | None


class Task(msgspec.Struct, kw_only=True):
    """One run of a task. `output` is the tail of what it printed; `exit_status` is null while it
    runs and where it ended by `signal`."""

    id: str
    name: str
    type: str
    state: TaskState
    started_at: str | None
    finished_at: str | None
    duration_seconds: float | None
    progress_percent: float | None
    message: str
    exit_status: int | None
    signal: str | None
    output: str
    bytes: int | None
    reported_by: str
    node: str
    version: int


class TaskList(msgspec.Struct, kw_only=True):
    tasks: list[Task]
    next_cursor: str | None
    complete: bool
    incomplete_reason: str | None


class Repository(msgspec.Struct, kw_only=True):
    """Where backups live. Sizes are null while they cannot be seen; `error` then says why."""

    name: str
    path: str
    origin: Literal["configuration", "added", "discovered"]
    status: Literal["ok", "failed", "absent", "unknown"]
    error: str | None
    size_bytes: float | None
    used_bytes: float | None
    available_bytes: float | None
    usage_percent: float | None
    mount_point: str | None
    file_system: str | None
    checked_at: str | None


class RepositoryList(msgspec.Struct, kw_only=True):
    repositories: list[Repository]


class ProbeStatus(msgspec.Struct, kw_only=True):
    """How one probe stands on one scope."""

    probe: str
    scope: dict[str, str]
    outcome: Literal["seen", "absent", "deferred", "failed", "pending"]
    reason: str
    last_run: str | None
    last_seen: str | None
    duration_seconds: float | None
    interval_seconds: float
    stuck_since: str | None
    rows: int


class ProbeList(msgspec.Struct, kw_only=True):
    probes: list[ProbeStatus]


class PlannedRead(msgspec.Struct, kw_only=True):
    """One read that the reader's table allows, for one object of this machine."""

    row: str
    object: str
    safety: str  # P0, P1, P2 or P3
    key: str  # what a stuck read of it blocks
    reads: str  # what is done, in words
    command: str  # what is run, with {sg} for the device's node; empty where nothing is
    answer_by_seconds: float
    kill_after_seconds: float


class Plan(msgspec.Struct, kw_only=True):
    reads: list[PlannedRead]


class BootCheck(msgspec.Struct, kw_only=True):
    """One thing that the next start needs: how it stands, what that is about, and what to do."""

    check: str
    state: Literal["ok", "problem", "unknown"]
    about: str
    advice: str  # empty where all is well


class BootReport(msgspec.Struct, kw_only=True):
    """Whether the machine will come back as it is: `ready` means that every check is well, `score`
    is the share of those that are, 0 to 100, and `scheduled` when it is planned to start anew. What
    it rests on was read at `checked_at` or later; null where nothing was."""

    ready: bool
    score: int
    scheduled: str | None = None
    checked_at: str | None = None
    checks: list[BootCheck]


class TapeAlertFlag(msgspec.Struct, kw_only=True):
    """A TapeAlert flag that was set, and when that was seen."""

    number: int
    name: str
    severity: Severity | None  # None for a number that T10 has not assigned
    advice: str
    timestamp: str


class TapeAlertReport(msgspec.Struct, kw_only=True):
    """The flags of a drive or library that this asker was not told of. They count as told when
    `tape.told` brings the mark back. `unread` says why the drive could not be asked now, and is
    empty where it was: there may be more flags."""

    device: str  # its serial number
    kind: Literal["drive", "library"]
    flags: list[TapeAlertFlag]
    mark: int
    unread: str


class Rule(msgspec.Struct, kw_only=True):
    """A rule as it is in force. Exactly one of `alert` and `record` is set."""

    name: str
    kind: Literal["alert", "record"]
    group: str
    origin: str  # "built-in" or the file
    expr: str
    for_seconds: float
    keep_firing_for_seconds: float
    interval_seconds: float
    labels: dict[str, str]
    annotations: dict[str, str]
    version: str  # a digest of all of the above
    last_evaluation: str | None
    evaluation_seconds: float | None
    error: str | None
    unknown: bool  # whether its last evaluation met something that could not be seen
    firing: int
    pending: int
    unseen: str = ""  # a sentence of what that is, where it still cannot be seen
    warnings: list[str] = []  # it is right, and may not mean what it says


class RuleList(msgspec.Struct, kw_only=True):
    rules: list[Rule]


class RuleProblem(msgspec.Struct, kw_only=True):
    path: str
    line: int
    column: int
    message: str


class RuleCheck(msgspec.Struct, kw_only=True):
    """What `rules.validate` and `rules.reload` found; with a problem nothing was changed."""

    valid: bool
    rules: int
    problems: list[RuleProblem]
    warnings: list[RuleProblem] = []  # what is right, and may not mean what it says


class Token(msgspec.Struct, kw_only=True):
    """A bearer token, without its secret."""

    id: str
    name: str
    permissions: list[PermissionName]
    created_at: str
    created_by: str
    expires_at: str | None
    last_used_at: str | None
    revoked_at: str | None


class NewToken(msgspec.Struct, kw_only=True):
    """A token just made: `secret` is shown this once."""

    token: Token
    secret: str


class TokenList(msgspec.Struct, kw_only=True):
    tokens: list[Token]


class TokenVerdict(msgspec.Struct, kw_only=True):
    """Whether a bearer token is good, for whom, and for what."""

    id: str
    name: str
    permissions: list[PermissionName]
    expires_at: str | None


class AlertCounts(msgspec.Struct, kw_only=True):
    firing: int
    pending: int
    acknowledged: int


class DatabaseStatus(msgspec.Struct, kw_only=True):
    """`unconfirmed` counts journal records that PostgreSQL has not confirmed."""

    kind: Literal["embedded", "external", "none"]
    up: bool
    message: str
    unconfirmed: int
    server_version: str | None


class Status(msgspec.Struct, kw_only=True):
    node: str
    version: str
    pid: int
    uptime_seconds: float
    ready: bool
    health: HealthStatus
    alerts: AlertCounts
    probes: list[ProbeStatus]
    database: DatabaseStatus


NotFinite = Literal["+Inf", "-Inf", "NaN"]
"""What JSON has no number for, as Prometheus writes it."""


class QueryRow(msgspec.Struct, kw_only=True):
    """One row of an instant query, which is there unless its `state` is unknown. `value` is then
    its value or, where not all could be seen, what that is at least or at most; the one of an
    unknown row means nothing. It is a number wherever JSON has one."""

    labels: dict[str, str]
    value: float | NotFinite
    exact: bool  # whether `state` is exact
    state: RowStateName


class QueryAnswer(msgspec.Struct, kw_only=True):
    """The rows of an instant query. `holes` are label equalities that could not be looked at."""

    rows: list[QueryRow]
    holes: list[dict[str, str]]
    warnings: list[str] = []


class Version(msgspec.Struct, kw_only=True):
    version: str
    node: str
    protocol: int


class Subscribed(msgspec.Struct, kw_only=True):
    """`snapshot` is what was so at the event `last_id`; events after it follow."""

    subscription: str
    last_id: str
    gap: bool
    snapshot: Any = None


class EventNotice(msgspec.Struct, kw_only=True):
    """The params of an `event` notification; `event` is the Event's own bytes."""

    subscription: str
    event: msgspec.Raw


class RecordingStarted(msgspec.Struct, kw_only=True):
    """Its bytes come in order as `recording` notifications, and `end` says that it is whole."""

    recording: str


class RecordingPiece(msgspec.Struct, kw_only=True):
    """The params of a `recording` notification; `data` is base64 on the wire."""

    recording: str
    data: bytes


class RecordingEnd(msgspec.Struct, kw_only=True):
    """The params of the `end` notification of a recording."""

    recording: str
    reason: str


class SubscriptionEnd(msgspec.Struct, kw_only=True):
    """The params of an `end` notification: the daemon cut this subscription off, and why."""

    subscription: str
    reason: str
