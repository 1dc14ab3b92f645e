"""The books as plain values and back, exactly: what a recording begins with.

Tokens are left out: nothing that is decided about alerts depends on them.
"""

from typing import Any

import msgspec

from storewatchd.core.engine import Engine
from storewatchd.core.freeze import freeze, thaw
from storewatchd.core.ids import Ids
from storewatchd.core.incidents import Incidents
from storewatchd.core.objects import Object
from storewatchd.core.permissions import TokenBook
from storewatchd.core.rules import RuleFile, load
from storewatchd.core.tasks import TaskBook
from storewatchd.errors import RecordingError
from storewatchd.monitor.batch import Books


def dump(books: Books) -> dict[str, Any]:
    """Return the books as MessagePack can hold them."""
    rules = books.engine.rules
    return {
        "node": books.incidents.node,
        "rules": msgspec.to_builtins(rules.files),
        "rules_interval_s": rules.interval_s,
        "engine": freeze(books.engine.dump()),
        "table": freeze(books.table),
        "incidents": freeze(books.incidents.dump()),
        "tasks": freeze(books.tasks.dump()),
        "repositories": freeze(books.repositories),
        "answers": freeze(books.answers.dump()),
        "objects": [one.to_state() for one in books.inventory],
    }


def load_books(told: dict[str, Any], ids: Ids) -> Books:
    """Return the books that `dump` was given.

    Raises:
        RecordingError: these are none, or are of another version.
    """
    try:
        files = msgspec.convert(told["rules"], list[RuleFile])
        # What was wrong then is wrong again, and was left out as it is now.
        rules, _ = load(files, interval_s=told["rules_interval_s"])
        table = thaw(told["table"])
        incidents = Incidents(told["node"], ids.new)
        incidents.load(thaw(told["incidents"]))
        books = Books(
            table=table,
            engine=Engine(table, incidents, rules),
            incidents=incidents,
            tasks=TaskBook(told["node"], ids.new),
            repositories=thaw(told["repositories"]),
            tokens=TokenBook(),
        )
        books.engine.load(thaw(told["engine"]))
        books.tasks.load(thaw(told["tasks"]))
        books.answers.load(thaw(told["answers"]))
        books.inventory.restore(map(Object.from_state, told["objects"]))
    except (KeyError, TypeError, ValueError, AttributeError, msgspec.ValidationError) as error:
        raise RecordingError(f"the recording's beginning cannot be read: {error}") from error
    return books
