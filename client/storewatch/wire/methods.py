"""Every method by name, with the types of its parameters and of its result.

What a call needs is the daemon's to judge; `permission` is here so that a client can tell it.
An empty permission means that anybody who reaches the socket may call it.
"""

from typing import NamedTuple

import msgspec

from storewatch.wire import inventory, params, types


class Method(NamedTuple):
    params: type[params.Params]
    result: type[msgspec.Struct] | type[str] | type[bool]
    permission: str


READ = "monitoring:read"
WRITE = "monitoring:write"
ADMIN = "monitoring:admin"

METHODS: dict[str, Method] = {
    "daemon.version": Method(params.Nothing, types.Version, ""),
    "daemon.status": Method(params.Nothing, types.Status, READ),
    "health.get": Method(params.Nothing, types.Health, ""),
    "metrics.get": Method(params.Nothing, types.Snapshot, READ),
    "metrics.text": Method(params.Nothing, str, READ),
    "metrics.query": Method(params.MetricsQuery, types.QueryAnswer, READ),
    "alerts.list": Method(params.AlertsList, types.AlertList, READ),
    "alerts.get": Method(params.AlertId, types.AlertDetail, READ),
    "alerts.create": Method(params.AlertCreate, types.Alert, WRITE),
    "alerts.acknowledge": Method(params.AlertMark, types.Alert, WRITE),
    "alerts.resolve": Method(params.AlertMark, types.Alert, WRITE),
    "events.list": Method(params.EventsList, types.EventList, READ),
    "events.subscribe": Method(params.EventsSubscribe, types.Subscribed, READ),
    "events.unsubscribe": Method(params.EventsUnsubscribe, bool, READ),
    "rules.list": Method(params.Nothing, types.RuleList, READ),
    "rules.get": Method(params.RuleName, types.Rule, READ),
    "rules.validate": Method(params.RulesValidate, types.RuleCheck, READ),
    "rules.reload": Method(params.Nothing, types.RuleCheck, ADMIN),
    "tasks.list": Method(params.TasksList, types.TaskList, READ),
    "tasks.get": Method(params.TaskId, types.Task, READ),
    "tasks.start": Method(params.TaskStart, types.Task, WRITE),
    "tasks.progress": Method(params.TaskProgress, types.Task, WRITE),
    "tasks.finish": Method(params.TaskFinish, types.Task, WRITE),
    "repositories.list": Method(params.Nothing, types.RepositoryList, READ),
    "repositories.add": Method(params.RepositoryAdd, types.Repository, ADMIN),
    "repositories.remove": Method(params.RepositoryName, bool, ADMIN),
    "objects.list": Method(params.ObjectsList, inventory.ObjectList, READ),
    "objects.get": Method(params.ObjectId, inventory.ObjectDetail, READ),
    "objects.forget": Method(params.ObjectForget, inventory.Object, ADMIN),
    "probes.list": Method(params.ProbesList, types.ProbeList, READ),
    "probes.run": Method(params.ProbesRun, types.ProbeList, WRITE),
    "probes.record": Method(params.ProbesRecord, types.RecordingStarted, ADMIN),
    "probes.plan": Method(params.ProbesPlan, types.Plan, READ),
    "boot.check": Method(params.Nothing, types.BootReport, READ),
    "tape.alert": Method(params.TapeAlert, types.TapeAlertReport, WRITE),
    "tape.told": Method(params.TapeTold, bool, WRITE),
    "tokens.create": Method(params.TokenCreate, types.NewToken, ADMIN),
    "tokens.list": Method(params.Nothing, types.TokenList, ADMIN),
    "tokens.revoke": Method(params.TokenId, types.Token, ADMIN),
    "tokens.verify": Method(params.TokenVerify, types.TokenVerdict, ""),
}
