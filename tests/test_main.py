"""The daemon's command line: what it answers, and how it ends when it cannot start."""

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from storewatchd.__main__ import main
from storewatchd.errors import ConfigError


def daemon(*words: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the daemon to its end."""
    return subprocess.run(
        [sys.executable, "-m", "storewatchd", *words],
        capture_output=True,
        text=True,
        timeout=15,
        cwd=cwd,
        env={**os.environ, "PYTHONDEVMODE": ""},
        check=False,
    )


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """Settings of a daemon that needs nothing."""
    path = tmp_path / "storewatch.toml"
    path.write_text(
        f"[daemon]\nstate_directory = '{tmp_path}/state'\nruntime_directory = '{tmp_path}/run'\n"
        "[database]\nkind = 'none'\n[rules]\ndirectories = []\n"
    )
    return path


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    version = importlib.metadata.version("storewatch")
    assert (ended.value.code, capsys.readouterr().out) == (0, f"storewatchd {version}\n")


def test_an_unknown_word_is_told_with_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--confg"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("usage: storewatchd")


def test_a_check_says_that_all_is_right_and_starts_nothing(
    settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--check-config", "--config", str(settings)]) == 0
    assert re.fullmatch(r"the settings are right; \d+ rules\n", capsys.readouterr().out)
    assert sorted(tmp_path.iterdir()) == [settings]


@pytest.mark.parametrize("word", ["x", "0", "-1", "nan", "inf"])
def test_a_speed_that_is_none_is_told(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--replay", "any", f"--speed={word}"])
    assert ended.value.code == 2
    said = f"--speed: expected a number over 0 (or max), found '{word}'\n"
    assert capsys.readouterr().err.endswith(said)


def test_the_highest_speed_has_a_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--replay", str(tmp_path / "none"), "--speed", "max"]) == 1
    assert "cannot be read: No such file" in capsys.readouterr().err


SENTENCE = (
    "storewatchd: {}: probes.intervall: expected one of interval, disabled"
    " (did you mean interval?), found the unknown key 'intervall'\n"
)


def test_a_check_of_wrong_settings_ends_with_a_sentence(
    settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.write_text("[probes]\nintervall = 3\n")
    assert main(["--check-config", "--config", str(settings)]) == 1
    assert capsys.readouterr() == ("", SENTENCE.format(settings))


def test_debugging_shows_where_an_error_came_from(settings: Path) -> None:
    settings.write_text("[probe]\n")
    with pytest.raises(ConfigError):
        main(["--check-config", "--config", str(settings), "--debug"])


def test_a_start_with_wrong_settings_ends_with_a_sentence(settings: Path) -> None:
    settings.write_text("[probes]\nintervall = 3\n")
    done = daemon("--config", settings)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", SENTENCE.format(settings))


def test_a_state_directory_that_cannot_be_made_is_named(settings: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = daemon("--config", settings, "--state-directory", "file/state", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        "storewatchd: the command line: --state-directory: expected a directory that can be made "
        f"and written, found {tmp_path}/file/state: Not a directory\n"
    )
