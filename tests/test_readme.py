"""README names all that a newcomer looks for there: rules, commands, values."""

import re
from pathlib import Path
from typing import get_args

from lab.demo_play import LEFT_OUT
from storewatch.ctl.root import root
from storewatch.wire.types import EventTypeName
from storewatchd.core.rules import load
from storewatchd.rule_files import built_in_files

README = (Path(__file__).parent.parent / "README.md").read_text()


def shipped() -> set[str]:
    rules, problems = load(built_in_files())
    assert problems == []
    return {rule.name for rule in rules if rule.kind == "alert"}


def part(title: str) -> str:
    """Return what stands below a heading of README."""
    return README.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def first_cells(text: str) -> str:
    """Return the first column of the tables."""
    return "\n".join(re.findall(r"^\| ((?:\\\||[^|])+) \|", text, re.MULTILINE))


def test_the_list_of_rules_has_every_alert_that_ships_and_no_other() -> None:
    assert set(re.findall(r"\b[A-Z]\w+", first_cells(part("Rules")))) == shipped()


def test_what_the_demonstration_leaves_out_is_named() -> None:
    named = set(re.findall(r"\b[A-Z]\w+", part("Try it"))) & shipped()
    assert named - {"TaskFailed", "StorageCapacityWarning"} == set(LEFT_OUT)


def test_the_table_of_commands_has_each_of_them() -> None:
    words = set(re.findall(r"[a-z]+", first_cells(part("storewatchctl"))))
    assert set(root.commands) <= words


def test_every_type_of_event_is_named() -> None:
    (row,) = re.findall(r"^\| `GET /api/v1/monitoring/events` .*", README, re.MULTILINE)
    assert f"`{' '.join(get_args(EventTypeName))}`" in row


def test_what_backup_programs_run_is_named_by_its_full_path() -> None:
    recipes = re.findall(r"Alert Command = .*", README)
    assert len(recipes) == 2
    for recipe in recipes:
        assert recipe.count("storewatchctl") == recipe.count(
            "/usr/lib/storewatch/bin/storewatchctl"
        )
