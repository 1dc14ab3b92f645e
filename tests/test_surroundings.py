"""What settings name and this machine does not have, told as whoever wrote them named it."""

import os
from pathlib import Path

import pytest

from storewatchd.errors import ConfigError
from storewatchd.settings import Source
from storewatchd.surroundings import missing_names, unusable_directories

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can tell for other users")


def source(tmp_path: Path, text: str) -> Source:
    path = tmp_path / "storewatch.toml"
    path.write_text(text)
    return Source(path, tmp_path / "state", tmp_path / "run")


def problems(source: Source) -> list[ConfigError]:
    settings = source.load()
    return [*missing_names(settings, source), *unusable_directories(settings, source)]


@pytest.mark.parametrize(
    ("text", "key", "expected", "found"),
    [
        pytest.param(
            '[control]\nread_group = "nogroupx"',
            "control.read_group",
            "a group that exists",
            "'nogroupx', so that nobody gets its permissions",
            id="group to read",
        ),
        pytest.param(
            '[control]\nwrite_group = "a\\u0000b"',
            "control.write_group",
            "a group that exists",
            "'a\\x00b', so that nobody gets its permissions",
            id="group to write",
        ),
        pytest.param(
            '[database]\nuser = "nemo"', "database.user", "a user that exists", "'nemo'", id="user"
        ),
        pytest.param(
            '[database]\nbinaries = "/no/such"',
            "database.binaries",
            "the directory of initdb and postgres",
            "/no/such, where initdb cannot be run",
            id="programs",
        ),
        pytest.param(
            '[rules]\ndirectories = ["/etc", "/no/such"]',
            "rules.directories[1]",
            "a directory that can be read",
            "/no/such: No such file or directory",
            id="rules",
        ),
        pytest.param(
            '[rules]\ndirectories = ["/etc/passwd"]',
            "rules.directories[0]",
            "a directory that can be read",
            "/etc/passwd: Not a directory",
            id="a file for rules",
        ),
    ],
)
def test_what_does_not_exist_is_told_with_file_key_expected_and_found(
    tmp_path: Path, text: str, key: str, expected: str, found: str
) -> None:
    mine = source(tmp_path, text)
    (error,) = problems(mine)
    assert (error.path, error.key, error.expected, error.found) == (mine.name, key, expected, found)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="the usual groups and directories"),
        pytest.param('[control]\nread_group = "root"', id="a group that exists"),
        pytest.param('[database]\nkind = "none"\nuser = "nemo"', id="a user whom nothing runs as"),
        pytest.param('[database]\nkind = "none"\nbinaries = "/no/such"', id="programs unused"),
    ],
)
def test_what_need_not_exist_is_no_problem(tmp_path: Path, text: str) -> None:
    assert problems(source(tmp_path, text)) == []
    assert os.listdir(tmp_path) == ["storewatch.toml"]


def test_programs_that_are_there_are_no_problem(tmp_path: Path) -> None:
    for name in ("initdb", "postgres"):
        (tmp_path / name).touch(mode=0o755)
    assert problems(source(tmp_path, f'[database]\nbinaries = "{tmp_path}"')) == []


@only_root
@pytest.mark.parametrize(
    ("directory", "found"),
    [
        pytest.param(
            "/proc/nope",
            "/proc/nope, which cannot be made in /proc: No such file or directory",
            id="nothing can be made there",
        ),
        pytest.param(
            "/etc/passwd/state",
            "/etc/passwd/state, which cannot be made in /etc/passwd: Not a directory",
            id="below a file",
        ),
        pytest.param("/etc/passwd", "/etc/passwd: Not a directory", id="a file"),
        pytest.param("/proc", "/proc: No such file or directory", id="nothing can be written"),
    ],
)
def test_a_directory_of_our_own_has_to_be_one_that_can_be_made_and_written(
    tmp_path: Path, directory: str, found: str
) -> None:
    (tmp_path / "storewatch.toml").write_text(f'[daemon]\nstate_directory = "{directory}"')
    by_file = Source(tmp_path / "storewatch.toml", None, tmp_path)
    by_word = Source(tmp_path / "storewatch.toml", tmp_path, Path(directory))
    said = f"expected a directory that can be made and written, found {found}"
    assert [str(one) for one in (*problems(by_file), *problems(by_word))] == [
        f"{by_file.name}: daemon.state_directory: {said}",
        f"the command line: --runtime-directory: {said}",
    ]
