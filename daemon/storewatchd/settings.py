"""What an operator may set: a TOML file, every key optional, read strictly.

The defaults stand here and nowhere else. Durations are seconds, written as a number or as text
such as "30s" or "5m".
"""

import dataclasses
import difflib
import os
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, NewType

import psycopg
from psycopg.conninfo import conninfo_to_dict

from storewatchd.core.promql.lexer import duration_seconds
from storewatchd.core.repositories import is_name, normal_path
from storewatchd.core.series import MAX_SERIES
from storewatchd.errors import ConfigError

DEFAULT_PATH = Path("/etc/storewatch/storewatch.toml")

SOCKET_PATH_BYTES = 107
"""How long a socket's path may be. unix(7): sun_path less its terminating zero."""

Seconds = NewType("Seconds", float)


class DatabaseKind(StrEnum):
    EMBEDDED = "embedded"  # a PostgreSQL of our own, run under the daemon's user
    EXTERNAL = "external"  # the operator's server, by dsn
    NONE = "none"  # no history beyond what the journal keeps


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class DaemonSettings:
    state_directory: Path = Path("/var/lib/storewatch")
    runtime_directory: Path = Path("/run/storewatch")
    log_level: LogLevel = LogLevel.INFO


@dataclass(frozen=True, slots=True)
class ControlSettings:
    socket: Path | None = None  # None is control.sock in the runtime directory
    read_group: str = "storewatch-read"
    write_group: str = "storewatch"


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    kind: DatabaseKind = DatabaseKind.EMBEDDED
    dsn: str = ""
    binaries: Path | None = None  # None looks in the usual places
    directory: Path | None = None  # None is postgresql in the state directory
    user: str = ""  # under which the embedded server runs where the daemon is root


@dataclass(frozen=True, slots=True)
class ReaderSettings:
    socket: Path = Path("/run/storewatch-reader/reader.sock")


@dataclass(frozen=True, slots=True)
class ProbesSettings:
    interval: Seconds = Seconds(30.0)
    disabled: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TapeSettings:
    alert_broker: bool = False  # whether page 2Eh is ours to read, for who asks for the flags


@dataclass(frozen=True, slots=True)
class RepositorySettings:
    name: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class StorageSettings:
    discover: bool = True
    repositories: tuple[RepositorySettings, ...] = ()

    def named_paths(self) -> list[tuple[str, str]]:
        """Return the repositories as names and normal paths."""
        return [(one.name, normal_path(one.path)) for one in self.repositories]


@dataclass(frozen=True, slots=True)
class RulesSettings:
    directories: tuple[Path, ...] = (Path("/etc/storewatch/rules.d"),)
    interval: Seconds = Seconds(30.0)
    built_in: bool = True


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    retention: Seconds = Seconds(3600.0)  # how far back an expression can look
    max_series: int = MAX_SERIES  # what finds no place is not known


@dataclass(frozen=True, slots=True)
class TasksSettings:
    spool_directory: Path | None = None  # None is spool in the state directory


@dataclass(frozen=True, slots=True)
class JournalSettings:
    max_megabytes: int = 1024  # of state.db; beyond that the oldest records are dropped


@dataclass(frozen=True, slots=True)
class EventsSettings:
    keep_records: int = 100_000


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set. Values are replaced whole, never changed."""

    daemon: DaemonSettings = field(default_factory=DaemonSettings)
    control: ControlSettings = field(default_factory=ControlSettings)
    database: DatabaseSettings = field(default_factory=DatabaseSettings)
    reader: ReaderSettings = field(default_factory=ReaderSettings)
    probes: ProbesSettings = field(default_factory=ProbesSettings)
    tape: TapeSettings = field(default_factory=TapeSettings)
    storage: StorageSettings = field(default_factory=StorageSettings)
    rules: RulesSettings = field(default_factory=RulesSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    tasks: TasksSettings = field(default_factory=TasksSettings)
    events: EventsSettings = field(default_factory=EventsSettings)
    journal: JournalSettings = field(default_factory=JournalSettings)

    @property
    def control_socket(self) -> Path:
        return self.control.socket or self.daemon.runtime_directory / "control.sock"

    @property
    def spool_directory(self) -> Path:
        return self.tasks.spool_directory or self.daemon.state_directory / "spool"

    @property
    def database_directory(self) -> Path:
        return self.database.directory or self.daemon.state_directory / "postgresql"


# What the types alone do not say: (section, key) -> (test, what is expected).
_BOUNDS: Mapping[tuple[str, str], tuple[Any, str]] = {
    ("probes", "interval"): (lambda value: 1 <= value <= 3600, "from 1s to 1h"),
    ("rules", "interval"): (lambda value: 1 <= value <= 3600, "from 1s to 1h"),
    ("metrics", "retention"): (lambda value: 300 <= value <= 86_400, "from 5m to 24h"),
    ("metrics", "max_series"): (
        lambda value: 10_000 <= value <= 10_000_000,
        "from 10000 to 10000000",
    ),
    ("journal", "max_megabytes"): (lambda value: 16 <= value <= 1 << 20, "from 16 to 1048576"),
    ("events", "keep_records"): (
        lambda value: 1000 <= value <= 10_000_000,
        "from 1000 to 10000000",
    ),
}


@dataclass(frozen=True, slots=True)
class Source:
    """Where settings come from: a file, or the default one if it is there, and the command line's
    own words."""

    path: Path | None = None
    state_directory: Path | None = None
    runtime_directory: Path | None = None
    default_path: Path = DEFAULT_PATH

    @property
    def name(self) -> str:
        """The file that the settings come from."""
        return str(self.path or self.default_path)

    def load(self) -> Settings:
        """Return the settings as they are written now.

        Raises:
            ConfigError: the file cannot be read, or something in it is unknown or wrong.
        """
        if self.path is None and _is_absent(self.default_path):
            settings = Settings()
        else:
            settings = read(self.path or self.default_path)
        overrides = {
            name: value
            for name in ("state_directory", "runtime_directory")
            if (value := getattr(self, name)) is not None
        }
        settings = dataclasses.replace(
            settings, daemon=dataclasses.replace(settings.daemon, **overrides)
        )
        _check_socket_paths(settings, self.name)
        return settings


def _is_absent(path: Path) -> bool:
    """Return whether there is no such file; of one that cannot be seen, reading tells why."""
    try:
        path.stat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def read(path: Path) -> Settings:
    """Return the settings of a file.

    Raises:
        ConfigError: it cannot be read, or something in it is unknown or wrong.
    """
    try:
        with path.open("rb") as file:
            tree = tomllib.load(file)
    except OSError as error:
        raise ConfigError(
            str(path), "", expected="a readable file", found=error.strerror or str(error)
        ) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(str(path), "", expected="TOML", found=str(error)) from error
    settings = _build(Settings, tree, str(path), ())
    assert isinstance(settings, Settings)
    _check_whole(settings, str(path))
    return settings


def _check_socket_paths(settings: Settings, path: str) -> None:
    """Refuse a socket's path that the kernel does not take, wherever its parts were set."""
    for key, socket in (
        ("control.socket", settings.control_socket),
        ("reader.socket", settings.reader.socket),
    ):
        length = len(os.fsencode(socket))
        if length > SOCKET_PATH_BYTES:
            raise ConfigError(
                path,
                key,
                expected=f"a path of at most {SOCKET_PATH_BYTES} bytes",
                found=f"{length} bytes: {socket}",
            )


def _check_whole(settings: Settings, path: str) -> None:
    if settings.database.kind is DatabaseKind.EXTERNAL and not settings.database.dsn:
        raise ConfigError(path, "database.dsn", expected="a connection string", found="nothing")
    if "\0" in settings.database.dsn:
        # libpq would read no further than that.
        raise ConfigError(
            path,
            "database.dsn",
            expected="a connection string of libpq",
            found="one with the character U+0000",
        )
    if settings.database.dsn:
        try:
            conninfo_to_dict(settings.database.dsn)
        except psycopg.Error as error:
            # The string may hold a password: what is wrong with it is said, and not the string.
            found = str(error).strip().splitlines()[0]
            raise ConfigError(
                path, "database.dsn", expected="a connection string of libpq", found=found
            ) from None
    names: set[str] = set()
    paths: set[str] = set()
    for index, repository in enumerate(settings.storage.repositories):
        where = f"storage.repositories[{index}]"
        if not is_name(repository.name):
            found = repr(repository.name) if repository.name else "nothing"
            raise ConfigError(
                path, f"{where}.name", expected="a name of printable characters", found=found
            )
        if not _is_path(repository.path):
            found = repr(repository.path) if repository.path else "nothing"
            raise ConfigError(path, f"{where}.path", expected="an absolute path", found=found)
        if repository.name in names:
            raise ConfigError(
                path,
                f"{where}.name",
                expected="a name of its own",
                found=f"{repository.name!r} a second time",
            )
        names.add(repository.name)
        normal = normal_path(repository.path)
        if normal in paths:
            raise ConfigError(
                path,
                f"{where}.path",
                expected="a path of its own",
                found=f"{normal} a second time",
            )
        paths.add(normal)


def _build(kind: Any, tree: Any, path: str, place: tuple[str, ...]) -> Any:
    """Build a dataclass from a TOML table."""
    key = ".".join(place)
    if not isinstance(tree, dict):
        raise ConfigError(path, key, expected="a table", found=_name(tree))
    hints = typing.get_type_hints(kind)
    for name in tree:
        if name not in hints:
            near = difflib.get_close_matches(name, hints, n=1)
            meant = f" (did you mean {near[0]}?)" if near else ""
            raise ConfigError(
                path,
                ".".join((*place, name)),
                expected=f"one of {', '.join(hints)}{meant}",
                found=f"the unknown key {name!r}",
            )
    values = {
        name: _value(hints[name], value, path, (*place, name)) for name, value in tree.items()
    }
    return kind(**values)


def _value(hint: Any, value: Any, path: str, place: tuple[str, ...]) -> Any:
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, path, place)
    if typing.get_origin(hint) is tuple:
        item = typing.get_args(hint)[0]
        if not isinstance(value, list):
            raise ConfigError(path, ".".join(place), expected="a list", found=_name(value))
        return tuple(
            _value(item, one, path, (*place[:-1], f"{place[-1]}[{index}]"))
            for index, one in enumerate(value)
        )
    if isinstance(hint, types.UnionType):
        hint = next(one for one in typing.get_args(hint) if one is not types.NoneType)
    converted = _scalar(hint, value, path, ".".join(place))
    test, expected = _BOUNDS.get((place[0], place[-1]), (None, ""))
    if test is not None and not test(converted):
        raise ConfigError(path, ".".join(place), expected=expected, found=repr(value))
    return converted


def _scalar(hint: Any, value: Any, path: str, key: str) -> Any:
    if hint is Seconds:
        return _seconds(value, path, key)
    if hint is Path:
        if isinstance(value, str) and _is_path(value):
            return Path(value)
        raise ConfigError(path, key, expected="an absolute path", found=_name(value))
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        if value in list(hint):
            return hint(value)
        raise ConfigError(path, key, expected=f"one of {', '.join(hint)}", found=_name(value))
    # bool is an int to Python, and never to an operator.
    if isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    expected = {str: "text", int: "a whole number", bool: "true or false"}[hint]
    raise ConfigError(path, key, expected=expected, found=_name(value))


def _seconds(value: Any, path: str, key: str) -> Seconds:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Seconds(float(value))
    if isinstance(value, str):
        try:
            return Seconds(duration_seconds(value))
        except ValueError:
            pass
    raise ConfigError(path, key, expected='seconds, or text such as "30s"', found=_name(value))


def _is_path(text: str) -> bool:
    return text.startswith("/") and not {"\0", "\n"} & set(text)


def _name(value: Any) -> str:
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    return f"{value!r}".lower() if isinstance(value, bool) else repr(value)
