"""What each frame and command does to the books. Pure but for the books: nothing is written or
told here."""

from typing import Any, assert_never

from storewatchd.core.commands import (
    AcknowledgeAlert,
    AddRepository,
    Announce,
    Command,
    CreateAlert,
    FinishTask,
    ProgressTask,
    PutToken,
    RemoveRepository,
    ReplaceRules,
    ResolveAlert,
    RevokeToken,
    StartTask,
)
from storewatchd.core.frames import Frame
from storewatchd.core.model import EventType, to_milliseconds
from storewatchd.core.permissions import Token
from storewatchd.core.repositories import Origin
from storewatchd.core.tasks import TaskChange
from storewatchd.errors import NotFound
from storewatchd.monitor.batch import (
    MOUNT_POINT,
    REPOSITORY,
    TASK,
    TASK_NAME,
    TOKEN,
    Batch,
    Books,
)
from storewatchd.probes.storage import seen_mount_points


def take(frame: Frame, books: Books, batch: Batch) -> None:
    """Take what a look found."""
    batch.touched |= books.table.feed(frame)
    for path, mount_point in seen_mount_points(frame):
        _note_mount_point(path, mount_point, books, batch)


def decide(command: Command, books: Books, batch: Batch) -> Any:
    """Apply a command to the books; note in the batch what follows; return its answer.

    Raises:
        RequestError: it cannot be done; nothing changed.
    """
    now = batch.now
    match command:
        case CreateAlert():
            alert, transition = books.incidents.create(command, now)
            batch.note_alert(transition)
            return alert
        case AcknowledgeAlert():
            alert, marked = books.incidents.acknowledge(
                command.alert_id, command.actor, command.note, now
            )
            if marked is not None:
                batch.note_alert(marked)
            return alert
        case ResolveAlert():
            alert, transition = books.incidents.resolve(
                command.alert_id, command.actor, command.note, now
            )
            batch.note_alert(transition)
            return alert
        case StartTask():
            return _note_task(books.tasks.start(command, now), books, batch)
        case ProgressTask():
            return _note_task(books.tasks.progress(command), books, batch)
        case FinishTask():
            return _note_task(books.tasks.finish(command, now), books, batch)
        case AddRepository():
            repository = books.repositories.add(command.name, command.path)
            if repository.origin is Origin.ADDED:
                batch.put_state(REPOSITORY, repository.name, {"path": repository.path})
            # Who names a path, again or for the first time, means it as it is now.
            _note_mount_point(repository.path, None, books, batch)
            _announce(batch, EventType.STORAGE, "repository_added", repository.name)
            return repository
        case RemoveRepository():
            repository = books.repositories.remove(command.name)
            batch.put_state(REPOSITORY, repository.name, None)
            _note_mount_point(repository.path, None, books, batch)
            _announce(batch, EventType.STORAGE, "repository_removed", repository.name)
            return repository
        case PutToken():
            return _put_token(command.token, "token_created", books, batch)
        case RevokeToken():
            token = books.tokens.get(command.token_id)
            if token is None:
                raise NotFound(f"there is no token {command.token_id!r}")
            if token.revoked_at is not None:
                return token
            revoked = token.revoked(to_milliseconds(now.wall))
            return _put_token(revoked, "token_revoked", books, batch)
        case ReplaceRules():
            for transition in books.engine.replace_rules(command.rules, now):
                batch.note_alert(transition)
            facts = {"rules": len(command.rules)}
            batch.note_event(EventType.SYSTEM, "rules_reloaded", facts)
            return len(command.rules)
        case Announce():
            batch.note_event(command.type, command.kind, command.facts)
            if command.notice:
                batch.note_told(command.notice)
            return None
        case _:
            assert_never(command)


def _note_mount_point(path: str, mount_point: str | None, books: Books, batch: Batch) -> None:
    if books.repositories.note_mount_point(path, mount_point):
        state = None if mount_point is None else {"mount_point": mount_point}
        batch.put_state(MOUNT_POINT, path, state)


def _note_task(change: TaskChange, books: Books, batch: Batch) -> Any:
    batch.note_task(change)
    for run_id, state in books.tasks.take_changes().items():
        batch.put_state(TASK, run_id, state)
    for name, about in books.tasks.take_name_changes().items():
        batch.put_state(TASK_NAME, name, about)
    if change.kind is not None:
        batch.touched |= books.table.feed(books.tasks.frame(batch.now))
    return change.run


def _put_token(token: Token, kind: str, books: Books, batch: Batch) -> Token:
    books.tokens.put(token)
    batch.put_state(TOKEN, token.id, token.to_state())
    batch.note_event(EventType.SYSTEM, kind, {"id": token.id, "name": token.name})
    return token


def _announce(batch: Batch, event_type: EventType, kind: str, name: str) -> None:
    batch.note_event(event_type, kind, {"name": name})
