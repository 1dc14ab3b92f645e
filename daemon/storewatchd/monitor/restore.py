"""Takes over, at the start, what was true before: from the state in the journal into the books, and
what is over and unconfirmed from the records into view."""

import msgspec

from storewatchd.core.model import Alert, EventType, Instant
from storewatchd.core.objects import Object
from storewatchd.core.permissions import Token
from storewatchd.core.tasks import FAMILIES as TASK_FAMILIES
from storewatchd.core.tasks import PROBE as TASKS_PROBE
from storewatchd.core.tasks import TaskRun
from storewatchd.journal import DRAIN, Journal
from storewatchd.monitor.batch import (
    ALERT,
    ANSWER,
    MOUNT_POINT,
    OBJECT,
    REPOSITORY,
    TASK,
    TASK_NAME,
    TOKEN,
    Books,
)
from storewatchd.monitor.rebuild import rebuild_from_records
from storewatchd.monitor.view import View

PAGE = 1_000
"""How many records are read at a time."""


async def restore(journal: Journal, books: Books, view: View, now: Instant) -> None:
    """Fill empty books and an empty view.

    Raises:
        JournalError: it cannot be read.
    """
    await rebuild_from_records(journal, now)
    decode = msgspec.json.decode
    books.table.declare(TASKS_PROBE, TASK_FAMILIES, max_age_s=float("inf"))
    states = await journal.state(ALERT)
    books.incidents.restore(map(decode, states.values()), now)
    runs = await journal.state(TASK)
    names = await journal.state(TASK_NAME)
    books.tasks.restore(
        map(decode, runs.values()), {name: decode(about) for name, about in names.items()}
    )
    for name, state in (await journal.state(REPOSITORY)).items():
        books.repositories.restore(name, decode(state)["path"])
    for path, state in (await journal.state(MOUNT_POINT)).items():
        books.repositories.note_mount_point(path, decode(state)["mount_point"])
    answers = await journal.state(ANSWER)
    books.answers.restore((key, decode(state)) for key, state in answers.items())
    for state in (await journal.state(TOKEN)).values():
        books.tokens.put(Token.from_state(decode(state)))
    objects = await journal.state(OBJECT)
    books.inventory.restore(Object.from_state(decode(state)) for state in objects.values())
    for one in books.inventory:
        view.put_object(one.key, one)
    for incident in books.incidents:
        view.put_alert(incident.alert, 0)
    for run in books.tasks.runs():
        if not run.is_over:
            view.put_run(run, 0)
    await _show_unconfirmed(journal, view)
    books.table.feed(books.tasks.frame(now))


async def _show_unconfirmed(journal: Journal, view: View) -> None:
    after = journal.confirmed(DRAIN)
    types = (EventType.ALERT, EventType.TASK)
    while records := await journal.read(after, PAGE, types=types):
        for record in records:
            shape = msgspec.json.decode(record.data)
            if record.type == EventType.TASK:
                run = TaskRun.from_state(shape)
                known_run = view.run(run.id)
                if known_run is None or known_run.version < run.version:
                    view.put_run(run, record.seq)
            else:
                alert = Alert.from_json(shape)
                known = view.alert(alert.id)
                if not alert.is_open and (known is None or known.version <= alert.version):
                    view.put_alert(alert, record.seq)
        after = records[-1].seq
