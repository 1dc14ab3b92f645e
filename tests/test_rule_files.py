"""Which rule files are read, and what is said of those that cannot be."""

import os
from pathlib import Path

import pytest

from storewatchd import rule_files
from storewatchd.core.rules import MAX_FILE_BYTES
from storewatchd.rule_files import built_in_files, read_rules
from storewatchd.settings import RulesSettings

BUILT_IN = [rule.name for rule in read_rules(RulesSettings(()), ())[0]]


def rule(name: str, expr: str = "up == 0") -> str:
    return f"groups: [{{name: g, rules: [{{alert: {name}, expr: {expr!r}}}]}}]\n"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "rules.d"
    directory.mkdir()
    return directory


def names(*directories: Path) -> list[str]:
    """Return the names of the rules in force; nothing is wrong with them."""
    rules, problems = read_rules(RulesSettings(directories), ())
    assert problems == []
    return [rule.name for rule in rules]


def test_the_built_in_rules_are_always_there() -> None:
    assert {"StorageCapacityWarning", "StorageCapacityCritical", "TaskFailed"} <= set(names())


def test_other_rules_may_take_their_place(directory: Path) -> None:
    (directory / "a.yml").write_text(rule("First"))
    rules, problems = read_rules(RulesSettings((directory,), built_in=False), ())
    assert ([one.name for one in rules], problems) == (["First"], [])


def test_every_file_that_ships_is_known_in_the_order_of_names() -> None:
    paths = [file.path for file in built_in_files()]
    assert {"default.yml", "scst.yml"} <= set(paths)
    assert paths == sorted(paths)


def test_files_are_read_in_the_order_of_their_names(directory: Path) -> None:
    (directory / "20.yml").write_text(rule("Third"))
    (directory / "10.yaml").write_text(rule("First"))
    (directory / "15.yml").write_text(rule("Second"))
    assert names(directory) == [*BUILT_IN, "First", "Second", "Third"]


def test_directories_are_read_in_their_order(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "another").mkdir()
    (tmp_path / "another" / "a.yml").write_text(rule("First"))
    (directory / "a.yml").write_text(rule("Second"))
    assert names(tmp_path / "another", directory) == [*BUILT_IN, "First", "Second"]


def test_other_files_are_left_alone(directory: Path) -> None:
    for name in ("a.yml.bak", "README", ".yml", "b.json"):
        (directory / name).write_text("{")
    assert names(directory) == BUILT_IN


def test_the_usual_directory_need_not_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whether this machine has the usual one is not the test's to say.
    monkeypatch.setattr(rule_files, "_USUAL_DIRECTORIES", (tmp_path / "none",))
    assert names(tmp_path / "none") == BUILT_IN


def test_a_directory_that_somebody_names_has_to_be_there(tmp_path: Path) -> None:
    rules, problems = read_rules(RulesSettings((tmp_path / "none",)), ())
    assert [str(one) for one in problems] == [
        f"{tmp_path}/none: cannot be read: No such file or directory (rules.directories names it)"
    ]
    assert not rules.is_whole


def test_a_pipe_blocks_nobody(directory: Path) -> None:
    os.mkfifo(directory / "a.yml")
    _, problems = read_rules(RulesSettings((directory,)), ())
    assert [one.message for one in problems] == ["cannot be read: it is no regular file"]


def test_a_file_that_is_too_large_is_not_read(directory: Path) -> None:
    with (directory / "a.yml").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    _, problems = read_rules(RulesSettings((directory,)), ())
    assert "at most" in problems[0].message


def test_a_rule_is_any_script_in_utf_8(directory: Path) -> None:
    text = rule("Voll").replace("expr:", 'annotations: {summary: "Архив"}, expr:')
    (directory / "a.yml").write_bytes(text.encode())
    assert names(directory) == [*BUILT_IN, "Voll"]


def test_a_wrong_file_is_named_with_its_place_and_the_others_are_read(directory: Path) -> None:
    (directory / "a.yml").write_text(rule("Broken", "sum("))
    (directory / "b.yml").write_text(rule("Good"))
    rules, problems = read_rules(RulesSettings((directory,)), ())
    assert [problem.path for problem in problems] == [f"{directory}/a.yml"]
    assert problems[0].line == 1
    assert "Good" in [rule.name for rule in rules]


def test_what_cannot_be_read_is_named_with_the_reason(directory: Path, tmp_path: Path) -> None:
    (directory / "a.yml").mkdir()
    (directory / "b.yml").write_bytes(b"\xff")
    (tmp_path / "file").write_text(rule("Unseen"))
    rules, problems = read_rules(RulesSettings((directory, tmp_path / "file")), ())
    said = {problem.path: problem.message for problem in problems}
    assert said[f"{directory}/a.yml"] == "cannot be read: Is a directory"
    assert said[f"{directory}/b.yml"].startswith("cannot be read: 'utf-8' codec")
    assert said[f"{tmp_path}/file"] == (
        "cannot be read: Not a directory (rules.directories names it)"
    )
    assert [rule.name for rule in rules] == BUILT_IN
    assert not rules.is_whole
