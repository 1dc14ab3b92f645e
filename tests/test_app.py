"""What a check of the settings says. The daemon's life is tested on real processes, under
tests/system."""

import re
from pathlib import Path

import pytest

from storewatchd.app import check
from storewatchd.errors import ConfigError, RuleError
from storewatchd.settings import Source
from test_rule_files import rule


def source(tmp_path: Path, text: str) -> Source:
    path = tmp_path / "storewatch.toml"
    path.write_text(text)
    return Source(path)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "rules.d"
    directory.mkdir()
    return directory


def test_right_settings_are_said_to_be_right(directory: Path, tmp_path: Path) -> None:
    (directory / "a.yml").write_text(rule("Mine", "node_load5 > 8"))
    said = check(source(tmp_path, f"[rules]\ndirectories = ['{directory}']\n"))
    assert re.fullmatch(r"the settings are right; \d+ rules", said)


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


def test_a_metric_that_nobody_knows_is_a_warning(directory: Path, tmp_path: Path) -> None:
    (directory / "a.yml").write_text(rule("Mine", "nod_load5 > 8 or node_load1 > 8"))
    said = check(source(tmp_path, f"[rules]\ndirectories = ['{directory}']\n")).splitlines()
    assert said[0].startswith("the settings are right; ")
    (warning,) = said[1:]
    assert warning.startswith(f"warning: {directory}/a.yml:1:")
    assert warning.endswith(": Mine: no metric 'nod_load5' is known; did you mean node_load5?")


def test_the_rules_that_ship_name_only_what_is_known(tmp_path: Path) -> None:
    assert "warning" not in check(source(tmp_path, "[rules]\ndirectories = []\n"))


def test_a_group_that_there_is_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        check(source(tmp_path, "[control]\nread_group = 'nogroupx'\n"))
    assert str(caught.value).startswith(
        f"{tmp_path}/storewatch.toml: control.read_group: expected a group that exists, found "
    )


def test_a_probe_that_there_is_not_cannot_be_disabled(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        check(source(tmp_path, "[probes]\ndisabled = ['nosuch']\n"))
    error = caught.value
    assert (error.path, error.key) == (f"{tmp_path}/storewatch.toml", "probes.disabled")
    assert "filesystems" in error.expected
    assert error.found == "'nosuch'"


def test_no_rule_records_what_a_probe_says(directory: Path, tmp_path: Path) -> None:
    (directory / "a.yml").write_text(
        "groups: [{name: g, rules: [{record: node_load1, expr: '1'}]}]\n"
    )
    with pytest.raises(RuleError, match="node_load1 is a metric of a probe"):
        check(source(tmp_path, f"[rules]\ndirectories = ['{directory}']\n"))
