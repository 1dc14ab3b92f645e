"""What a check of the settings says, and which rule files are read. The daemon's life is tested
on real processes, under tests/system."""

from pathlib import Path

import pytest

from storewatchd.app import check, read_rules
from storewatchd.errors import ConfigError, RuleError
from storewatchd.settings import RulesSettings, Settings, Source

BUILT_IN = ["StorageCapacityWarning", "StorageCapacityCritical", "TaskFailed"]


def rule(name: str, expr: str = "up == 0") -> str:
    return f"groups: [{{name: g, rules: [{{alert: {name}, expr: {expr!r}}}]}}]\n"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "rules.d"
    directory.mkdir()
    return directory


def names(*directories: Path) -> list[str]:
    """Return the names of the rules in force; nothing is wrong with them."""
    rules, problems = read_rules(Settings(rules=RulesSettings(directories)))
    assert problems == []
    return [rule.name for rule in rules]


def test_the_built_in_rules_are_always_there() -> None:
    assert names() == BUILT_IN


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


def test_a_directory_that_is_not_there_has_no_rules(tmp_path: Path) -> None:
    assert names(tmp_path / "none") == BUILT_IN


def test_a_rule_is_any_script_in_utf_8(directory: Path) -> None:
    text = rule("Voll").replace("expr:", 'annotations: {summary: "Архив"}, expr:')
    (directory / "a.yml").write_bytes(text.encode())
    assert names(directory) == [*BUILT_IN, "Voll"]


def test_a_wrong_file_is_named_with_its_place_and_the_others_are_read(directory: Path) -> None:
    (directory / "a.yml").write_text(rule("Broken", "sum("))
    (directory / "b.yml").write_text(rule("Good"))
    rules, problems = read_rules(Settings(rules=RulesSettings((directory,))))
    assert [problem.path for problem in problems] == [f"{directory}/a.yml"]
    assert problems[0].line == 1
    assert "Good" in [rule.name for rule in rules]


def test_what_cannot_be_read_is_named_with_the_reason(directory: Path, tmp_path: Path) -> None:
    (directory / "a.yml").mkdir()
    (directory / "b.yml").write_bytes(b"\xff")
    (tmp_path / "file").write_text(rule("Unseen"))
    settings = Settings(rules=RulesSettings((directory, tmp_path / "file")))
    rules, problems = read_rules(settings)
    said = {problem.path: problem.message for problem in problems}
    assert said[f"{directory}/a.yml"].startswith("cannot be read: [Errno 21] Is a directory")
    assert said[f"{directory}/b.yml"].startswith("cannot be read: 'utf-8' codec")
    assert said[f"{tmp_path}/file"] == "cannot be read: Not a directory"
    assert [rule.name for rule in rules] == BUILT_IN
    assert not rules.is_whole


def source(tmp_path: Path, text: str) -> Source:
    path = tmp_path / "storewatch.toml"
    path.write_text(text)
    return Source(path)


def test_right_settings_are_said_to_be_right(directory: Path, tmp_path: Path) -> None:
    (directory / "a.yml").write_text(rule("Mine"))
    said = check(source(tmp_path, f"[rules]\ndirectories = ['{directory}']\n"))
    assert said == "the settings are right; 4 rules"


def test_wrong_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean rules"):
        check(source(tmp_path, "[rule]\n"))


def test_every_problem_of_the_rules_is_told(directory: Path, tmp_path: Path) -> None:
    (directory / "a.yml").write_text(rule("A", "sum("))
    (directory / "b.yml").mkdir()
    with pytest.raises(RuleError) as caught:
        check(source(tmp_path, f"[rules]\ndirectories = ['{directory}']\n"))
    first, second = str(caught.value).split("; ")
    assert {first.split(":")[0], second.split(":")[0]} == {
        f"{directory}/a.yml",
        f"{directory}/b.yml",
    }
