"""The rules in force: those that ship, and the files of the rules directories."""

import importlib.resources
import os
import stat
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from storewatchd.core.rules import MAX_FILE_BYTES, RuleFile, RuleSet, load
from storewatchd.errors import RuleError
from storewatchd.settings import RulesSettings

_SUFFIXES = (".yml", ".yaml")
_USUAL_DIRECTORIES = RulesSettings().directories


def read_rules(settings: RulesSettings, taken: Collection[str]) -> tuple[RuleSet, list[RuleError]]:
    """Return the built-in rules, unless others are to take their place, and those of the rules
    directories, and every problem. `taken` are the names of metrics that no rule may record.

    It reads files: call it where that may take a while.
    """
    files = built_in_files() if settings.built_in else []
    problems: list[RuleError] = []
    for directory in settings.directories:
        for path in _paths(directory, problems):
            try:
                files.append(RuleFile(str(path), _text(path), str(path)))
            except (OSError, UnicodeDecodeError, ValueError) as error:
                why = getattr(error, "strerror", None) or str(error)
                problems.append(RuleError(f"cannot be read: {why}", path=str(path)))
    rules, wrong = load(files, interval_s=settings.interval, taken=taken)
    if problems:
        rules = replace(rules, is_whole=False)
    return rules, [*problems, *wrong]


def built_in_files() -> list[RuleFile]:
    """Return the rule files that ship, in the order of their names."""
    shipped = importlib.resources.files("storewatchd.rules").iterdir()
    return [
        RuleFile(one.name, one.read_text("utf-8"), "built-in")
        for one in sorted(shipped, key=lambda one: one.name)
        if one.name.endswith(_SUFFIXES)
    ]


def _paths(directory: Path, problems: list[RuleError]) -> list[Path]:
    try:
        return sorted(one for one in directory.iterdir() if one.suffix in _SUFFIXES)
    except FileNotFoundError as error:
        # Nobody need have rules of their own; who names another directory means it.
        if directory in _USUAL_DIRECTORIES:
            return []
        why = error.strerror
    except OSError as error:
        why = error.strerror
    problems.append(
        RuleError(f"cannot be read: {why} (rules.directories names it)", path=str(directory))
    )
    return []


def _text(path: Path) -> str:
    """Return a rule file's text.

    Raises:
        OSError, UnicodeDecodeError: it cannot be read, or is no text.
        ValueError: it is no regular file, or too large.
    """
    # A pipe without a writer would block whoever opens it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise ValueError("it is no regular file")
        if about.st_size > MAX_FILE_BYTES:
            raise ValueError(f"a rule file has at most {MAX_FILE_BYTES} bytes")
        return file.read().decode()
