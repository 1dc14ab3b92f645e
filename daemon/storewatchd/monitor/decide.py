"""What each frame and command does to the books. Pure but for the books: nothing is written or
told here."""

import contextlib
from typing import Any, assert_never

from storewatchd.core.commands import (
    AcknowledgeAlert,
    AddRepository,
    Announce,
    Command,
    CreateAlert,
    FinishTask,
    ForgetObject,
    ProgressTask,
    PutToken,
    Rebuild,
    RemoveRepository,
    ReplaceRules,
    ResolveAlert,
    RevokeToken,
    StartTask,
)
from storewatchd.core.frames import Frame
from storewatchd.core.model import Alert, EventType, Transition, to_milliseconds
from storewatchd.core.objects import Object
from storewatchd.core.permissions import Token
from storewatchd.core.repositories import Repository
from storewatchd.core.steps import Steps
from storewatchd.core.tasks import TaskChange
from storewatchd.errors import Conflict, NotFound
from storewatchd.monitor.batch import (
    MOUNT_POINT,
    REPOSITORY,
    TASK,
    TASK_NAME,
    TOKEN,
    Batch,
    Books,
)
from storewatchd.monitor.rebuild import incident_of
from storewatchd.probes.storage import seen_mount_points


def take(frame: Frame, books: Books, batch: Batch) -> Steps[None]:
    """Take what a look found."""
    batch.touched |= yield from books.table.feeding(frame)
    books.inventory.take(frame)
    for path, mount_point in seen_mount_points(frame):
        _note_mount_point(path, mount_point, books, batch)
    for one in frame.news:
        batch.note_event(one.type, one.kind, one.facts)


def decide(command: Command, books: Books, batch: Batch) -> Any:
    """Apply a command to the books; note in the batch what follows; return its answer.

    Raises:
        RequestError: it cannot be done; nothing changed.
    """
    match command:
        case CreateAlert() | AcknowledgeAlert() | ResolveAlert():
            return _decide_alert(command, books, batch)
        case StartTask():
            return _note_task(books.tasks.start(command, batch.now), books, batch)
        case ProgressTask():
            return _note_task(books.tasks.progress(command), books, batch)
        case FinishTask():
            return _note_task(books.tasks.finish(command, batch.now), books, batch)
        case AddRepository():
            return _add_repository(command, books, batch)
        case RemoveRepository():
            return _remove_repository(command, books, batch)
        case PutToken():
            return _put_token(command.token, "token_created", books, batch)
        case RevokeToken():
            return _revoke_token(command, books, batch)
        case ReplaceRules():
            return _replace_rules(command, books, batch)
        case ForgetObject():
            return _forget_object(command, books, batch)
        case Announce():
            batch.note_event(command.type, command.kind, command.facts)
            if command.notice:
                batch.note_told(command.notice)
            return None
        case Rebuild():
            return _rebuild(command, books, batch)
        case _:
            assert_never(command)


def _decide_alert(
    command: CreateAlert | AcknowledgeAlert | ResolveAlert, books: Books, batch: Batch
) -> Alert:
    incidents, now = books.incidents, batch.now
    transition: Transition | None
    match command:
        case CreateAlert():
            alert, transition = incidents.create(command, now)
        case AcknowledgeAlert():
            alert, transition = incidents.acknowledge(
                command.alert_id, command.actor, command.note, now
            )
        case ResolveAlert():
            alert, transition = incidents.resolve(
                command.alert_id, command.actor, command.note, now
            )
        case _:
            assert_never(command)
    if transition is not None:
        batch.note_alert(transition)
    return alert


def _add_repository(command: AddRepository, books: Books, batch: Batch) -> Repository:
    repository, is_new = books.repositories.add(command.name, command.path)
    if is_new:
        batch.put_state(REPOSITORY, repository.name, {"path": repository.path})
        _announce(batch, EventType.STORAGE, "repository_added", repository.name)
    # Who names a path, again or for the first time, means it as it is now.
    _note_mount_point(repository.path, None, books, batch)
    return repository


def _remove_repository(command: RemoveRepository, books: Books, batch: Batch) -> Repository:
    repository = books.repositories.remove(command.name)
    batch.put_state(REPOSITORY, repository.name, None)
    _note_mount_point(repository.path, None, books, batch)
    _announce(batch, EventType.STORAGE, "repository_removed", repository.name)
    return repository


def _revoke_token(command: RevokeToken, books: Books, batch: Batch) -> Token:
    token = books.tokens.get(command.token_id)
    if token is None:
        raise NotFound(f"there is no token {command.token_id!r}")
    if token.revoked_at is not None:
        return token
    revoked = token.revoked(to_milliseconds(batch.now.wall))
    return _put_token(revoked, "token_revoked", books, batch)


def _replace_rules(command: ReplaceRules, books: Books, batch: Batch) -> int:
    for transition in books.engine.replace_rules(command.rules, batch.now):
        batch.note_alert(transition)
    batch.note_event(EventType.SYSTEM, "rules_reloaded", {"rules": len(command.rules)})
    return len(command.rules)


def _forget_object(command: ForgetObject, books: Books, batch: Batch) -> Object:
    now = batch.now.wall
    known = {str(state.scope) for state in books.table.scopes() if state.is_known(now)}
    taken = books.inventory.forget(
        command.kind, command.id, now, known.__contains__, unseen=command.unseen
    )
    batch.note_objects(taken)
    return taken.changes[0].object


def _rebuild(command: Rebuild, books: Books, batch: Batch) -> dict[str, int]:
    """Take back what was lost; return how much of each kind."""
    runs, names = _take_back_tasks(command, books, batch)
    taken = {
        "alerts": _take_back_alerts(command, books, batch),
        "tasks": runs,
        "task_names": names,
        "repositories": _take_back_repositories(command, books, batch),
        "tokens": _take_back_tokens(command, books, batch),
        "objects": _take_back_objects(command, books, batch),
    }
    if any(taken.values()):
        batch.note_event(EventType.SYSTEM, "journal_rebuilt", taken)
    if command.is_all:
        batch.note_rebuilt()
    return taken


def _take_back_alerts(command: Rebuild, books: Books, batch: Batch) -> int:
    now, count, rules = batch.now, 0, set()
    for alert, reason in command.alerts:
        transitions = books.incidents.take_back(incident_of(alert, reason, now), now)
        for transition in transitions:
            batch.note_alert(transition)
        if transitions:
            count += 1
            rules.add(alert.rule)
    for transition in books.engine.look_again(rules - {""}, now):
        batch.note_alert(transition)
    return count


def _take_back_tasks(command: Rebuild, books: Books, batch: Batch) -> tuple[int, int]:
    runs = books.tasks.take_back(command.runs, command.names)
    for run in runs:
        # Nothing of it is new to the journal's readers, but it is to who shows what goes on now.
        batch.note_task(TaskChange(run, "progress"))
    return len(runs), _put_tasks(books, batch)


def _take_back_repositories(command: Rebuild, books: Books, batch: Batch) -> int:
    added = {one.name: one.path for one in books.repositories.added()}
    count = 0
    for name, path in command.repositories.items():
        if name in added:
            continue
        with contextlib.suppress(Conflict):  # what was named since stays
            repository, is_new = books.repositories.add(name, path)
            if is_new:
                batch.put_state(REPOSITORY, name, {"path": repository.path})
                count += 1
    for path, mount_point in command.mount_points.items():
        # Where a file system belongs is what it was mounted on when all was known. A path that a
        # person has named meanwhile is meant as it is now.
        if path not in added.values():
            _note_mount_point(path, mount_point, books, batch)
    return count


def _take_back_tokens(command: Rebuild, books: Books, batch: Batch) -> int:
    count = 0
    for token in command.tokens:
        known = books.tokens.get(token.id)
        if known is None or (known.revoked_at is None and token.revoked_at is not None):
            books.tokens.put(token)
            batch.put_state(TOKEN, token.id, token.to_state())
            count += 1
    return count


def _take_back_objects(command: Rebuild, books: Books, batch: Batch) -> int:
    taken = books.inventory.take_back(map(Object.from_state, command.objects))
    batch.note_objects(taken)
    return len(taken.touched)


def _note_mount_point(path: str, mount_point: str | None, books: Books, batch: Batch) -> None:
    if books.repositories.note_mount_point(path, mount_point):
        state = None if mount_point is None else {"mount_point": mount_point}
        batch.put_state(MOUNT_POINT, path, state)


def _note_task(change: TaskChange, books: Books, batch: Batch) -> Any:
    batch.note_task(change)
    _put_tasks(books, batch)
    return change.run


def _put_tasks(books: Books, batch: Batch) -> int:
    """Take what changed of tasks; return of how many names."""
    runs, names = books.tasks.take_changes(), books.tasks.take_name_changes()
    for run_id, state in runs.items():
        batch.put_state(TASK, run_id, state)
    for name, about in names.items():
        batch.put_state(TASK_NAME, name, about)
    if runs or names:
        batch.touched |= books.table.feed(books.tasks.frame(batch.now))
    return len(names)


def _put_token(token: Token, kind: str, books: Books, batch: Batch) -> Token:
    books.tokens.put(token)
    batch.put_state(TOKEN, token.id, token.to_state())
    batch.note_event(EventType.SYSTEM, kind, {"id": token.id, "name": token.name})
    return token


def _announce(batch: Batch, event_type: EventType, kind: str, name: str) -> None:
    batch.note_event(event_type, kind, {"name": name})
