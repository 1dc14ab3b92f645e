"""Settings: what a file may say, what is refused and how, and where the defaults stand."""

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storewatchd.errors import ConfigError
from storewatchd.settings import (
    DatabaseKind,
    LogLevel,
    ProbesSettings,
    RepositorySettings,
    Seconds,
    Settings,
    Source,
    read,
)

DURATION = 'seconds, or text such as "30s"'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "storewatch.toml"


def settings(file: Path, text: str) -> Settings:
    file.write_text(text)
    return read(file)


def refusal(file: Path, text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        settings(file, text)
    return caught.value


# What a file may say.


def test_an_empty_file_leaves_the_defaults(file: Path) -> None:
    assert settings(file, "") == Settings()


def test_everything_can_be_set(file: Path) -> None:
    found = settings(
        file,
        """
        [daemon]
        state_directory = "/state"
        runtime_directory = "/runtime"
        log_level = "debug"
        [control]
        socket = "/control.sock"
        read_group = "readers"
        write_group = "writers"
        [database]
        kind = "external"
        dsn = "host=db"
        binaries = "/bin"
        directory = "/pg"
        user = "postgres"
        [reader]
        socket = "/reader.sock"
        [probes]
        interval = 10
        disabled = ["sensors", "block"]
        [tape]
        alert_broker = true
        [storage]
        discover = false
        [[storage.repositories]]
        name = "vault"
        path = "/srv/vault"
        [[storage.repositories]]
        name = "archive"
        path = "/srv/archive"
        [rules]
        directories = ["/rules", "/more"]
        interval = "1m30s"
        built_in = false
        [metrics]
        retention = "6h"
        max_series = 20_000
        [tasks]
        spool_directory = "/spool"
        [events]
        keep_records = 5000
        [journal]
        max_megabytes = 64
        """,
    )
    assert dataclasses.asdict(found) == {
        "daemon": {
            "state_directory": Path("/state"),
            "runtime_directory": Path("/runtime"),
            "log_level": LogLevel.DEBUG,
        },
        "control": {
            "socket": Path("/control.sock"),
            "read_group": "readers",
            "write_group": "writers",
        },
        "database": {
            "kind": DatabaseKind.EXTERNAL,
            "dsn": "host=db",
            "binaries": Path("/bin"),
            "directory": Path("/pg"),
            "user": "postgres",
        },
        "reader": {"socket": Path("/reader.sock")},
        "probes": {"interval": 10.0, "disabled": ("sensors", "block")},
        "tape": {"alert_broker": True},
        "storage": {
            "discover": False,
            "repositories": (
                {"name": "vault", "path": "/srv/vault"},
                {"name": "archive", "path": "/srv/archive"},
            ),
        },
        "rules": {
            "directories": (Path("/rules"), Path("/more")),
            "interval": 90.0,
            "built_in": False,
        },
        "metrics": {"retention": 21_600.0, "max_series": 20_000},
        "tasks": {"spool_directory": Path("/spool")},
        "events": {"keep_records": 5000},
        "journal": {"max_megabytes": 64},
    }


def test_what_is_not_said_keeps_its_default(file: Path) -> None:
    found = settings(file, "[probes]\ninterval = 5\n")
    assert found == dataclasses.replace(Settings(), probes=ProbesSettings(interval=Seconds(5.0)))


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("10", 10.0),
        ("2.5", 2.5),
        ('"30s"', 30.0),
        ('"5m"', 300.0),
        ('"1m30s"', 90.0),
        ('"1h"', 3600),
    ],
)
def test_a_duration_is_a_number_or_text(file: Path, said: str, seconds: float) -> None:
    assert settings(file, f"[rules]\ninterval = {said}\n").rules.interval == seconds


@pytest.mark.parametrize("said", ["1", "3600", '"1s"', '"1000ms"'])
def test_the_ends_of_a_range_are_in_it(file: Path, said: str) -> None:
    settings(file, f"[probes]\ninterval = {said}\n")


# What is refused, and how.


@pytest.mark.parametrize(
    ("text", "key", "expected", "found"),
    [
        # Keys that are unknown, by whether there is one near.
        pytest.param(
            "[databse]",
            "databse",
            "one of daemon, control, database, reader, probes, tape, storage, rules, metrics, "
            "tasks, events, journal (did you mean database?)",
            "the unknown key 'databse'",
            id="section",
        ),
        pytest.param(
            "[probes]\nintervall = 3",
            "probes.intervall",
            "one of interval, disabled (did you mean interval?)",
            "the unknown key 'intervall'",
            id="key",
        ),
        pytest.param(
            "[reader]\nxyz = 3", "reader.xyz", "one of socket", "the unknown key 'xyz'", id="far"
        ),
        pytest.param(
            "[[storage.repositories]]\nname = 'a'\npth = '/'",
            "storage.repositories[0].pth",
            "one of name, path (did you mean path?)",
            "the unknown key 'pth'",
            id="key of a list's table",
        ),
        # Shapes.
        pytest.param("probes = 3", "probes", "a table", "3", id="number for a table"),
        pytest.param("probes = []", "probes", "a table", "a list", id="list for a table"),
        pytest.param(
            "[storage]\nrepositories = ['/srv']",
            "storage.repositories[0]",
            "a table",
            "'/srv'",
            id="text for a list's table",
        ),
        pytest.param(
            "[probes]\ndisabled = 'block'",
            "probes.disabled",
            "a list",
            "'block'",
            id="text for list",
        ),
        pytest.param(
            "[probes.disabled]\na = 1", "probes.disabled", "a list", "a table", id="table for list"
        ),
        # Types.
        pytest.param(
            "[probes]\ndisabled = ['block', 3]", "probes.disabled[1]", "text", "3", id="list's text"
        ),
        pytest.param("[control]\nread_group = 3", "control.read_group", "text", "3", id="text"),
        pytest.param(
            "[storage]\ndiscover = 1", "storage.discover", "true or false", "1", id="boolean"
        ),
        pytest.param(
            "[events]\nkeep_records = 5.5",
            "events.keep_records",
            "a whole number",
            "5.5",
            id="whole number",
        ),
        pytest.param(
            "[events]\nkeep_records = true",
            "events.keep_records",
            "a whole number",
            "true",
            id="boolean for a number",
        ),
        pytest.param(
            "[daemon]\nlog_level = 'loud'",
            "daemon.log_level",
            "one of debug, info, warning, error",
            "'loud'",
            id="choice",
        ),
        pytest.param(
            "[database]\nkind = ['none']",
            "database.kind",
            "one of embedded, external, none",
            "a list",
            id="list for a choice",
        ),
        # Paths.
        pytest.param(
            "[daemon]\nstate_directory = 'state'",
            "daemon.state_directory",
            "an absolute path",
            "'state'",
            id="relative",
        ),
        pytest.param(
            "[control]\nsocket = false", "control.socket", "an absolute path", "false", id="no path"
        ),
        pytest.param(
            '[reader]\nsocket = "/a\\u0000b"',
            "reader.socket",
            "an absolute path",
            "'/a\\x00b'",
            id="zero byte",
        ),
        pytest.param(
            "[rules]\ndirectories = ['/a', 'b']",
            "rules.directories[1]",
            "an absolute path",
            "'b'",
            id="one of several",
        ),
        # Durations.
        *(
            pytest.param(
                f"[probes]\ninterval = {said}", "probes.interval", DURATION, found, id=name
            )
            for name, said, found in (
                ("boolean duration", "true", "true"),
                ("no duration", "'soon'", "'soon'"),
                ("empty duration", "''", "''"),
                ("endless duration", "'999999y'", "'999999y'"),
                ("list for a duration", "[30]", "a list"),
            )
        ),
        # Ranges.
        *(
            pytest.param(f"[{section}]\ninterval = {said}", f"{section}.interval", bounds, said)
            for section in ("probes", "rules")
            for said in ("0", "0.5", "3601", "-1", "nan", "inf", "'2h'")
            for bounds in ["from 1s to 1h"]
        ),
        *(
            pytest.param(
                f'[metrics]\nretention = "{wrong}"',
                "metrics.retention",
                "from 5m to 24h",
                repr(wrong),
                id=f"retention {wrong}",
            )
            for wrong in ("4m59s", "25h")
        ),
        *(
            pytest.param(
                f"[metrics]\nmax_series = {wrong}",
                "metrics.max_series",
                "from 10000 to 10000000",
                str(wrong),
                id=f"{wrong} series",
            )
            for wrong in (9_999, 10_000_001)
        ),
        pytest.param(
            "[events]\nkeep_records = 999",
            "events.keep_records",
            "from 1000 to 10000000",
            "999",
            id="too few",
        ),
        pytest.param(
            "[events]\nkeep_records = 10_000_001",
            "events.keep_records",
            "from 1000 to 10000000",
            "10000001",
            id="too many",
        ),
        # The whole.
        pytest.param(
            "[database]\nkind = 'external'",
            "database.dsn",
            "a connection string",
            "nothing",
            id="no connection string",
        ),
        pytest.param(
            "[[storage.repositories]]\npath = '/a'",
            "storage.repositories[0].name",
            "a name of printable characters",
            "nothing",
            id="no name",
        ),
        pytest.param(
            "[[storage.repositories]]\nname = 'a'",
            "storage.repositories[0].path",
            "an absolute path",
            "nothing",
            id="no path of a repository",
        ),
        *(
            pytest.param(
                f"[[storage.repositories]]\nname = 'a'\npath = {said}",
                "storage.repositories[0].path",
                "an absolute path",
                found,
                id=name,
            )
            for name, said, found in (
                ("relative repository", "'a'", "'a'"),
                ("zero byte in a repository", '"/a\\u0000"', "'/a\\x00'"),
                ("line break in a repository", '"/a\\nb"', "'/a\\nb'"),
            )
        ),
        *(
            pytest.param(
                f"[[storage.repositories]]\nname = {said}\npath = '/a'",
                "storage.repositories[0].name",
                "a name of printable characters",
                found,
                id=name,
            )
            for name, said, found in (
                ("zero byte in a name", '"a\\u0000"', "'a\\x00'"),
                ("line break in a name", '"a\\nb"', "'a\\nb'"),
            )
        ),
        pytest.param(
            "[[storage.repositories]]\nname = 'a'\npath = '/a'\n"
            "[[storage.repositories]]\nname = 'a'\npath = '/b'\n",
            "storage.repositories[1].name",
            "a name of its own",
            "'a' a second time",
            id="two of a name",
        ),
    ],
)
def test_what_is_wrong_is_told_with_file_key_expected_and_found(
    file: Path, text: str, key: str, expected: str, found: str
) -> None:
    error = refusal(file, text)
    assert (error.path, error.key) == (str(file), key)
    assert (error.expected, error.found) == (expected, found)
    assert str(error) == f"{file}: {key}: expected {expected}, found {found}"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"[probes\n", "at line 1", id="syntax"),
        pytest.param(b"a = 1\na = 2\n", "overwrite a value", id="twice"),
        pytest.param(b"a = '\xff'\n", "can't decode byte 0xff", id="no UTF-8"),
        pytest.param(b"\0", "at line 1", id="zero byte"),
        pytest.param(b"a = " + b"[" * 100_000, "recursion depth exceeded", id="deep"),
        pytest.param(b"a = " + b"1" * 5000, "4300", id="a number that nothing can hold"),
    ],
)
def test_a_file_that_is_no_toml_is_told_with_the_reason(
    file: Path, content: bytes, words: str
) -> None:
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read(file)
    assert str(caught.value).startswith(f"{file}: expected TOML, found ")
    assert words in caught.value.found


def test_a_file_that_cannot_be_read_is_told_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as missing:
        read(tmp_path / "none.toml")
    assert str(missing.value) == (
        f"{tmp_path}/none.toml: expected a readable file, found No such file or directory"
    )
    with pytest.raises(ConfigError, match="expected a readable file, found Is a directory"):
        read(tmp_path)


@given(content=st.binary(max_size=80))
def test_any_bytes_are_settings_or_a_refusal(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = tmp_path_factory.mktemp("settings") / "storewatch.toml"
    file.write_bytes(content)
    with contextlib.suppress(ConfigError):
        read(file)


SECTIONS = [one.name for one in dataclasses.fields(Settings)]
KEYS = [
    (section, one.name)
    for section in SECTIONS
    for one in dataclasses.fields(getattr(Settings(), section))
]
WORDS = st.sampled_from(
    [
        *("1", "-1", "1.5", "nan", "true", "'x'", "'/x'", "'30s'", "''", "1979-05-27", "07:32:00"),
        *("[]", "[1]", "[[]]", "['/x']", "{}", "{a = 1}", "[{}]", "[{name = 'a', path = '/a'}]"),
    ]
)


@given(key=st.sampled_from(KEYS), word=WORDS)
def test_any_value_of_any_key_is_taken_or_refused_by_that_key(
    tmp_path_factory: pytest.TempPathFactory, key: tuple[str, str], word: str
) -> None:
    file = tmp_path_factory.mktemp("settings") / "storewatch.toml"
    file.write_text(f"[{key[0]}]\n{key[1]} = {word}\n")
    refused = ".".join(key)
    try:
        read(file)
    except ConfigError as error:
        refused = error.key
    assert refused.startswith(".".join(key))


# Where they come from.


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    assert Source(default_path=tmp_path / "none.toml").load() == Settings()


def test_the_default_file_is_read_where_it_is(file: Path) -> None:
    file.write_text("[probes]\ninterval = 5\n")
    assert Source(default_path=file).load().probes.interval == 5.0


def test_a_default_file_that_cannot_be_seen_is_not_absent(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="expected a readable file, found Not a directory"):
        Source(default_path=tmp_path / "file" / "storewatch.toml").load()


@pytest.mark.parametrize("key", ["control", "reader"])
def test_a_sockets_path_is_no_longer_than_the_kernel_takes(file: Path, key: str) -> None:
    file.write_text(f"[{key}]\nsocket = '/{'x' * 106}'\n")
    Source(file).load()
    file.write_text(f"[{key}]\nsocket = '/{'x' * 107}'\n")
    with pytest.raises(ConfigError) as caught:
        Source(file).load()
    assert caught.value.key == f"{key}.socket"
    assert caught.value.expected == "a path of at most 107 bytes"
    assert caught.value.found.startswith("108 bytes: /x")


def test_a_socket_is_measured_where_the_command_line_puts_it(file: Path) -> None:
    file.touch()
    with pytest.raises(ConfigError, match=r"control\.socket: expected a path of at most 107 bytes"):
        Source(file, runtime_directory=Path("/" + "x" * 100)).load()


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a readable file"):
        Source(tmp_path / "none.toml").load()


def test_a_file_that_was_named_comes_before_the_default_one(file: Path, tmp_path: Path) -> None:
    file.write_text("[probes]\ninterval = 5\n")
    (tmp_path / "named.toml").write_text("[probes]\ninterval = 7\n")
    assert Source(tmp_path / "named.toml", default_path=file).load().probes.interval == 7.0


@pytest.mark.parametrize(
    ("words", "state", "runtime"),
    [
        pytest.param({}, "/state", "/runtime", id="neither"),
        pytest.param({"state_directory": Path("/mine")}, "/mine", "/runtime", id="state"),
        pytest.param({"runtime_directory": Path("/mine")}, "/state", "/mine", id="runtime"),
    ],
)
def test_the_command_line_comes_before_the_file(
    file: Path, words: dict[str, Any], state: str, runtime: str
) -> None:
    file.write_text("[daemon]\nstate_directory = '/state'\nruntime_directory = '/runtime'\n")
    found = Source(file, **words).load()
    assert found.daemon.state_directory == Path(state)
    assert found.daemon.runtime_directory == Path(runtime)


# What follows from them.


def test_places_lie_in_the_directories_unless_they_are_set(file: Path) -> None:
    found = settings(file, "[daemon]\nstate_directory = '/s'\nruntime_directory = '/r'\n")
    assert found.control_socket == Path("/r/control.sock")
    assert found.spool_directory == Path("/s/spool")
    assert found.database_directory == Path("/s/postgresql")


def test_places_that_are_set_are_used(file: Path) -> None:
    found = settings(
        file,
        "[control]\nsocket = '/a'\n[tasks]\nspool_directory = '/b'\n[database]\ndirectory = '/c'\n",
    )
    assert found.control_socket == Path("/a")
    assert found.spool_directory == Path("/b")
    assert found.database_directory == Path("/c")


def test_settings_are_never_changed(file: Path) -> None:
    found = settings(file, "[[storage.repositories]]\nname = 'a'\npath = '/a'\n")
    assert found.storage.repositories == (RepositorySettings("a", "/a"),)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.daemon.log_level = LogLevel.DEBUG  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "key", "found"),
    [
        pytest.param(
            "[database]\nkind = 'external'\ndsn = 'host=db nonsense'",
            "database.dsn",
            'missing "=" after "nonsense" in connection info string',
            id="dsn",
        ),
        pytest.param(
            '[database]\nkind = "external"\ndsn = "host=db\\u0000 user=x"',
            "database.dsn",
            "one with the character U+0000",
            id="dsn-with-zero",
        ),
        pytest.param(
            "[journal]\nmax_megabytes = 2000000", "journal.max_megabytes", "2000000", id="too-much"
        ),
        pytest.param(
            "[[storage.repositories]]\nname='a'\npath='/a'\n"
            "[[storage.repositories]]\nname='b'\npath='/a/'",
            "storage.repositories[1].path",
            "/a a second time",
            id="one-path-twice",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(file: Path, text: str, key: str, found: str) -> None:
    error = refusal(file, text)
    assert (error.key, error.found) == (key, found)
