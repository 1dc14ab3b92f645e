"""A PostgreSQL of our own: made whole or not at all, started once, and told apart from others."""

import asyncio
import contextlib
import logging
import os
import pwd
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import psycopg
import pytest

from fix_postgres import make_cluster, reachable_directory
from storewatchd.errors import StoreUnavailable
from storewatchd.store.cluster_files import LAST_BYTES, LOG_BYTES
from storewatchd.store.embedded import FIRST_PAUSE_S, EmbeddedCluster

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs it as another user")

Make = Callable[..., EmbeddedCluster]

DAEMON = """
import asyncio, sys
from pathlib import Path
from fix_postgres import make_cluster
asyncio.run(make_cluster(Path(sys.argv[1])).ensure())
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Make clusters, and stop them at the end."""
    async with AsyncExitStack() as stack:

        def make(
            place: Path,
            *,
            binaries: Path | None = None,
            user: str = "",
            start_timeout_s: float = 20,
        ) -> EmbeddedCluster:
            cluster = EmbeddedCluster(
                place / "data",
                place / "run",
                binaries=binaries,
                user=user,
                start_timeout_s=start_timeout_s,
            )
            stack.push_async_callback(cluster.stop)
            return cluster

        yield make


@pytest.fixture(scope="module")
def whole() -> Iterator[Path]:
    """A place with a data directory, and a row in it."""
    with reachable_directory() as place, asyncio.Runner() as runner:
        cluster = make_cluster(place)
        runner.run(cluster.ensure())
        with psycopg.connect(cluster.dsn) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 'so' AS word")
        runner.run(cluster.stop())
        yield place
        clear(place)


@pytest.fixture
def made(whole: Path) -> Path:
    """That place, where nothing runs and nothing is left of a server."""
    clear(whole)
    return whole


def clear(place: Path) -> None:
    """Wait until the last server of a place has ended, and remove what is left of it."""
    lock = place / "data" / "postmaster.pid"
    if lock.exists():
        with contextlib.suppress(ValueError, IndexError):
            wait_for_end(server_pid(place))
    lock.unlink(missing_ok=True)
    shutil.rmtree(place / "run", ignore_errors=True)


@pytest.fixture
def empty(reachable: Path) -> Path:
    """A place whose data directory is one by its version only, which is not installed."""
    (reachable / "data").mkdir()
    (reachable / "data" / "PG_VERSION").write_text("99\n")
    (reachable / "data" / "postgresql.conf").write_text("# Storewatch's own.\n")
    return reachable


def tools(place: Path, **scripts: str) -> Path:
    """Make a folder of binaries from shell scripts, as an installation has it."""
    folder = place / "99" / "bin"
    folder.mkdir(parents=True)
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return folder


def server_pid(place: Path) -> int:
    return int((place / "data" / "postmaster.pid").read_text().splitlines()[0])


def owner(path: Path) -> int:
    return path.stat().st_uid


def word(cluster: EmbeddedCluster) -> str:
    """Return what is in the row."""
    with psycopg.connect(cluster.dsn) as connection:
        [row] = connection.execute("SELECT word FROM kept")
    return str(row[0])


def show(cluster: EmbeddedCluster, setting: str) -> str:
    with psycopg.connect(cluster.dsn) as connection:
        [row] = connection.execute(f"SHOW {setting}".encode())
    return str(row[0])


async def problem(cluster: EmbeddedCluster) -> str:
    """Return why a cluster cannot be had."""
    with pytest.raises(StoreUnavailable) as caught:
        await cluster.ensure()
    return str(caught.value)


def end(pid: int) -> None:
    """End a server, whoever started it."""
    os.kill(pid, signal.SIGINT)
    wait_for_end(pid)


def wait_for_end(pid: int) -> None:
    """Wait until a process is dead, whether or not somebody reaps it."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    poll = select.poll()
    poll.register(watched, select.POLLIN)
    assert poll.poll(10_000)
    os.close(watched)


# Making.


async def test_a_cluster_answers_its_users_on_a_socket_and_nobody_else(
    make: Make, made: Path
) -> None:
    cluster = make(made)
    await cluster.ensure()
    assert word(cluster) == "so"
    assert show(cluster, "listen_addresses") == ""
    assert [show(cluster, name) for name in ("fsync", "data_checksums")] == ["on", "on"]
    rules = (made / "data" / "pg_hba.conf").read_text().splitlines()
    assert rules == ["local all storewatch peer map=storewatch"]
    for directory in (made / "data", made / "run" / "postgresql"):
        assert directory.stat().st_mode & 0o777 == 0o700


@only_root
async def test_a_server_never_runs_as_root(make: Make, made: Path) -> None:
    await make(made).ensure()
    server = Path("/proc", str(server_pid(made)))
    assert owner(server) == owner(made / "data") != 0


async def test_a_making_that_fails_leaves_nothing_and_is_begun_anew(
    make: Make, reachable: Path
) -> None:
    half = 'while [ "$1" != -D ]; do shift; done; echo 99 > "$2/PG_VERSION"; echo full >&2; exit 3'
    broken = make(reachable, binaries=tools(reachable, initdb=half, postgres=""))
    with pytest.raises(StoreUnavailable, match=r"cannot be made: .*ended with status 3: full"):
        await broken.ensure()
    await broken.stop()
    assert list((reachable / "data").iterdir()) == []
    assert (reachable / "data.making" / "PG_VERSION").exists()

    cluster = make(reachable)
    await cluster.ensure()

    version = (reachable / "data" / "PG_VERSION").read_text().strip()
    assert show(cluster, "server_version").split(".")[0] == version
    assert not (reachable / "data.making").exists()


async def test_a_making_is_bounded_in_time(make: Make, reachable: Path) -> None:
    slow = tools(reachable, initdb="exec sleep 60", postgres="")
    cluster = make(reachable, binaries=slow, start_timeout_s=0.1)
    with pytest.raises(StoreUnavailable, match=r"cannot be made: .* took over 0\.1 s"):
        await cluster.ensure()


async def test_a_directory_with_something_else_in_it_is_refused_and_stays(
    make: Make, reachable: Path
) -> None:
    letter = reachable / "data" / "letter.txt"
    letter.parent.mkdir()
    letter.write_text("dear")
    with pytest.raises(StoreUnavailable, match=r"holds letter\.txt and is no PostgreSQL data"):
        await make(reachable).ensure()
    assert letter.read_text() == "dear"


# Finding.


async def test_a_missing_server_is_named(make: Make, reachable: Path) -> None:
    with pytest.raises(StoreUnavailable, match=f"no PostgreSQL server was found in {reachable}"):
        await make(reachable, binaries=reachable).ensure()


async def test_data_of_a_version_that_is_not_installed_is_named(make: Make, empty: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"belongs to PostgreSQL 99, .*: install post.*-99"):
        await make(empty).ensure()


async def test_a_version_that_is_garbage_is_named_as_it_is(make: Make, empty: Path) -> None:
    (empty / "data" / "PG_VERSION").write_bytes(b"\xdf\n")
    with pytest.raises(StoreUnavailable, match="to PostgreSQL \N{REPLACEMENT CHARACTER}, and only"):
        await make(empty).ensure()


async def test_a_version_that_cannot_be_read_is_told(make: Make, reachable: Path) -> None:
    (reachable / "data" / "PG_VERSION").mkdir(parents=True)
    with pytest.raises(StoreUnavailable, match=r"data cannot be read: Is a directory"):
        await make(reachable).ensure()


async def test_a_server_that_fits_the_data_is_found_on_the_path(
    make: Make, empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tools(empty, postgres="echo I am the one; exit 1")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    with pytest.raises(StoreUnavailable, match="I am the one"):
        await make(empty).ensure()


@only_root
async def test_an_unknown_user_is_named(make: Make, reachable: Path) -> None:
    with pytest.raises(StoreUnavailable, match="there is no user 'nemo': set database"):
        await make(reachable, user="nemo").ensure()


@only_root
async def test_the_data_belong_to_the_user_that_was_asked_for(make: Make, empty: Path) -> None:
    cluster = make(empty, user="daemon", binaries=tools(empty, postgres="id -un; exit 1"))
    with pytest.raises(StoreUnavailable, match="at its start: daemon"):
        await cluster.ensure()
    assert owner(empty / "data") == pwd.getpwnam("daemon").pw_uid


# Places.


async def test_a_socket_path_that_is_too_long_is_named(make: Make, reachable: Path) -> None:
    place = reachable / ("long" * 20)
    with pytest.raises(StoreUnavailable, match=r"PGSQL\.5432 is longer .* daemon\.runtime_directo"):
        await make(place).ensure()
    assert os.listdir(reachable) == []


async def test_a_place_that_cannot_be_made_is_named(make: Make, reachable: Path) -> None:
    (reachable / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="cannot be prepared for PostgreSQL: "):
        await make(reachable / "file").ensure()


async def test_a_file_system_that_hangs_holds_up_nothing_else(make: Make, empty: Path) -> None:
    settings = empty / "data" / "postgresql.conf"
    settings.unlink()
    os.mkfifo(settings)  # who opens it waits for a writer, as for a server of files that is away
    cluster = make(empty, start_timeout_s=0.1)
    assert "data has not answered for 0.1 s" in await problem(cluster)
    assert "data still hangs" in await problem(cluster)

    settings.write_text("# Storewatch's own.\n")
    settings.unlink()
    settings.write_text("# Storewatch's own.\n")

    async with asyncio.timeout(10):
        while "hangs" in (told := await problem(cluster)):
            pass
    assert "belongs to PostgreSQL 99" in told


@only_root
async def test_a_closed_parent_is_named(make: Make, reachable: Path) -> None:
    closed = reachable / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(StoreUnavailable, match=f"cannot reach .*: {closed} is closed to it .*0700"):
        await make(closed / "inner").ensure()


@only_root
@pytest.mark.parametrize(
    ("uid", "mode"), [pytest.param(True, 0o100, id="owner"), pytest.param(False, 0o010, id="group")]
)
async def test_a_parent_that_is_open_to_the_servers_user_alone_will_do(
    make: Make, empty: Path, uid: bool, mode: int
) -> None:
    user = pwd.getpwnam("nobody")
    os.chown(empty, user.pw_uid if uid else 0, user.pw_gid)
    binaries = tools(empty, postgres="echo here I am; exit 1")
    os.chmod(empty, mode)
    with pytest.raises(StoreUnavailable, match="at its start"):
        await make(empty, user="nobody", binaries=binaries).ensure()


# Starting.


async def test_a_running_server_is_left_alone(make: Make, made: Path) -> None:
    cluster = make(made)
    await cluster.ensure()
    pid = server_pid(made)
    await cluster.ensure()
    assert server_pid(made) == pid


async def test_a_server_that_died_is_started_again(make: Make, made: Path) -> None:
    cluster = make(made)
    await cluster.ensure()
    pid = server_pid(made)
    end(pid)
    await cluster.ensure()
    assert server_pid(made) != pid
    assert word(cluster) == "so"


async def test_a_server_that_is_killed_is_told_of_at_once_and_started_again_at_once(
    make: Make, made: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = make(made)
    await cluster.ensure()
    pid = server_pid(made)
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        await cluster.fallen.wait()
    assert f"PostgreSQL (pid {pid}) was ended by SIGKILL; starting it again" in caplog.messages
    await cluster.ensure()
    assert not cluster.fallen.is_set()
    assert word(cluster) == "so"


async def test_a_server_that_dies_again_soon_waits_before_it_is_started_again(
    make: Make, made: Path
) -> None:
    cluster = make(made)
    loop = asyncio.get_running_loop()
    await cluster.ensure()
    took = []
    for _ in range(2):
        os.kill(server_pid(made), signal.SIGKILL)
        async with asyncio.timeout(10):
            await cluster.fallen.wait()
        began = loop.time()
        await cluster.ensure()
        took.append(loop.time() - began)
    assert took[1] >= FIRST_PAUSE_S > took[0]


async def test_an_adopted_server_that_is_killed_is_told_of_too(
    make: Make, made: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pid = await orphan(make, made)
    adopter = make(made)
    await adopter.ensure()
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        await adopter.fallen.wait()
    assert f"PostgreSQL (pid {pid}) has ended; starting it again" in caplog.messages


async def test_a_server_that_is_stopped_has_not_fallen(
    make: Make, made: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = make(made)
    await cluster.ensure()
    await cluster.stop()
    assert not cluster.fallen.is_set()
    assert "starting it again" not in caplog.text


async def test_a_server_that_ends_at_its_start_is_told_with_its_last_words(
    make: Make, empty: Path
) -> None:
    binaries = tools(empty, postgres="echo first; echo the disk is on fire; exit 7")
    with pytest.raises(StoreUnavailable, match=r"ended with status 7 at its start: .*is on fire"):
        await make(empty, binaries=binaries).ensure()


async def test_last_words_may_be_any_bytes_and_are_looked_for_at_the_end_only(
    make: Make, empty: Path
) -> None:
    (empty / "postgresql.log").write_bytes(b"first\n" + b"\xdf" * LAST_BYTES)
    binaries = tools(empty, postgres=r"printf '\n\337 is no size\n'; exit 1")
    with pytest.raises(StoreUnavailable, match="at its start: \N{REPLACEMENT CHARACTER}") as caught:
        await make(empty, binaries=binaries).ensure()
    assert str(caught.value).endswith("\N{REPLACEMENT CHARACTER} is no size")
    assert "first" not in str(caught.value)


async def test_a_start_is_bounded_in_time(make: Make, empty: Path) -> None:
    binaries = tools(empty, postgres="exec sleep 60")
    cluster = make(empty, binaries=binaries, start_timeout_s=0.1)
    with pytest.raises(StoreUnavailable, match=r"does not answer 0\.1 s after its start"):
        await cluster.ensure()


async def test_a_start_without_a_log_is_refused(make: Make, empty: Path) -> None:
    (empty / "postgresql.log").mkdir()
    with pytest.raises(StoreUnavailable, match=r"postgresql\.log cannot be written: Is a direct"):
        await make(empty, binaries=tools(empty, postgres="")).ensure()


async def test_a_tool_that_is_missing_is_named(
    make: Make, empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(empty))
    with pytest.raises(StoreUnavailable, match="cannot be started: setpriv cannot be run"):
        await make(empty, binaries=tools(empty, postgres="")).ensure()


async def test_a_log_that_has_grown_too_long_is_put_aside(make: Make, empty: Path) -> None:
    log = empty / "postgresql.log"
    log.write_bytes(bytes(LOG_BYTES + 1))
    cluster = make(empty, binaries=tools(empty, postgres="echo here I am; exit 1"))
    for _ in "ab":
        with pytest.raises(StoreUnavailable):
            await cluster.ensure()
    assert log.read_text() == "here I am\nhere I am\n"
    assert (empty / "postgresql.log.old").stat().st_size == LOG_BYTES + 1


# Whose it is.


async def test_a_second_daemon_is_kept_away_and_harms_nothing(make: Make, made: Path) -> None:
    await make(made).ensure()
    pid = server_pid(made)
    second = EmbeddedCluster(made / "data", made / "elsewhere", binaries=None, user="")
    with pytest.raises(
        StoreUnavailable, match=rf"another daemon \(pid {os.getpid()}\) uses the PostgreSQL in "
    ):
        await second.ensure()
    await second.stop()
    assert server_pid(made) == pid
    assert not (made / "elsewhere").exists()


async def test_what_the_first_daemon_leaves_is_the_second_one_s(make: Make, made: Path) -> None:
    first, second = make(made), make(made)
    await first.ensure()
    await first.stop()
    await second.ensure()
    assert word(second) == "so"


@pytest.mark.parametrize("conf", [None, "port = 5432\n"], ids=["without settings", "with others"])
async def test_a_data_directory_that_somebody_else_made_is_left_as_it_is(
    make: Make, empty: Path, conf: str | None
) -> None:
    settings = empty / "data" / "postgresql.conf"
    settings.unlink()
    if conf is not None:
        settings.write_text(conf)
    os.chmod(empty / "data", 0o755)
    before = os.stat(empty / "data")
    with pytest.raises(StoreUnavailable, match="that Storewatch did not make: set "):
        await make(empty, binaries=tools(empty, postgres="")).ensure()
    assert os.stat(empty / "data") == before


# Adopting.


async def orphan(make: Make, made: Path) -> int:
    """Start a server whose daemon is gone at once; return its pid."""
    cluster = make(made)
    await cluster.ensure()
    cluster.let_go()
    return server_pid(made)


async def test_a_server_that_still_runs_is_adopted(
    make: Make, made: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    pid = await orphan(make, made)
    adopter = make(made)
    await adopter.ensure()
    await adopter.ensure()
    assert server_pid(made) == pid
    assert word(adopter) == "so"
    adoptions = [line for line in caplog.messages if line.startswith("adopting")]
    assert adoptions == [f"adopting the PostgreSQL that still runs (pid {pid})"]


async def test_an_adopted_server_is_stopped_too(make: Make, made: Path) -> None:
    pid = await orphan(make, made)
    adopter = make(made)
    await adopter.ensure()
    await adopter.stop()
    wait_for_end(pid)
    assert not (made / "data" / "postmaster.pid").exists()


async def test_an_adopted_server_that_died_is_started_again(make: Make, made: Path) -> None:
    pid = await orphan(make, made)
    adopter = make(made)
    await adopter.ensure()
    end(pid)
    await adopter.ensure()
    assert server_pid(made) != pid
    assert word(adopter) == "so"


async def test_an_adopted_server_that_died_needs_no_stop(make: Make, made: Path) -> None:
    pid = await orphan(make, made)
    adopter = make(made)
    await adopter.ensure()
    end(pid)
    await adopter.stop()


@pytest.fixture
def killed_daemon(made: Path) -> int:
    """Another process that had the cluster, and was killed; return the pid of its server."""
    daemon = subprocess.Popen(
        [sys.executable, "-c", DAEMON, made],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with daemon:
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == b"ready\n"
        pid = server_pid(made)
        daemon.kill()
    return pid


async def test_a_server_dies_with_its_daemon_and_the_next_one_has_its_data(
    make: Make, made: Path, killed_daemon: int
) -> None:
    cluster = make(made)

    async def is_up() -> bool:
        try:
            await cluster.ensure()
        except StoreUnavailable:
            return False
        return True

    async with asyncio.timeout(15):
        while not await is_up():  # the old server may still be going down
            pass
    wait_for_end(killed_daemon)
    assert word(cluster) == "so"


# What a dead server left.


def start(*words: str, made: Path) -> subprocess.Popen[bytes]:
    """Start a program as the server's user, where its backends work."""
    return subprocess.Popen(words, user=owner(made / "data"), cwd=made / "data")


@pytest.fixture
def zombie(made: Path) -> Iterator[int]:
    """A process of the server's user that is dead and not reaped."""
    child = start("true", made=made)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    yield child.pid
    child.wait()


@pytest.fixture
def backend(made: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that works where a server's backends do."""
    child = start("sleep", "60", made=made)
    yield child
    child.kill()
    child.wait()


def leave_locks(made: Path, pid: int) -> None:
    """Leave what a server that was killed leaves."""
    sockets = made / "run" / "postgresql"
    sockets.mkdir(parents=True)
    content = f"{pid}\n{made / 'data'}\n1767268800\n5432\n{sockets}\n"
    for path in (made / "data" / "postmaster.pid", sockets / ".s.PGSQL.5432.lock"):
        path.write_text(content)
        os.chown(path, owner(made / "data"), -1)


async def test_locks_of_a_server_that_nobody_reaped_are_cleared(
    make: Make, made: Path, zombie: int, caplog: pytest.LogCaptureFixture
) -> None:
    leave_locks(made, zombie)
    cluster = make(made)
    await cluster.ensure()
    assert word(cluster) == "so"
    assert f"last server (pid {zombie}) is dead and has left its lock" in caplog.text


async def test_locks_stay_while_a_backend_of_the_dead_server_lives(
    make: Make, made: Path, reachable: Path, zombie: int, backend: subprocess.Popen[bytes]
) -> None:
    leave_locks(made, zombie)
    (reachable / "linked").symlink_to(made)
    cluster = make(reachable / "linked")
    with pytest.raises(StoreUnavailable, match=r"at its start: .*postmaster\.pid"):
        await cluster.ensure()
    backend.kill()
    backend.wait()
    await cluster.ensure()
    assert word(cluster) == "so"


@pytest.mark.parametrize("pid", [os.getpid(), (1 << 22) + 1], ids=["our own", "nobody's"])
async def test_locks_that_name_no_server_are_no_hindrance(make: Make, made: Path, pid: int) -> None:
    leave_locks(made, pid)
    cluster = make(made)
    await cluster.ensure()
    assert word(cluster) == "so"


async def test_a_lock_that_was_never_written_is_cleared(make: Make, made: Path) -> None:
    (made / "data" / "postmaster.pid").touch()
    cluster = make(made)
    await cluster.ensure()
    assert word(cluster) == "so"


async def test_a_lock_that_is_being_written_stays(
    make: Make, made: Path, backend: subprocess.Popen[bytes]
) -> None:
    (made / "data" / "postmaster.pid").touch()
    with pytest.raises(StoreUnavailable, match=r"at its start: .*postmaster\.pid"):
        await make(made).ensure()
    assert backend.poll() is None


async def test_a_lock_that_is_garbage_is_left_to_postgresql(make: Make, made: Path) -> None:
    (made / "data" / "postmaster.pid").write_text("garbage\n")
    with pytest.raises(StoreUnavailable, match=r"at its start: .*postmaster\.pid"):
        await make(made).ensure()


# Stopping.


async def test_stopping_ends_the_server_and_keeps_the_data(make: Make, made: Path) -> None:
    cluster = make(made)
    await cluster.ensure()
    await cluster.stop()
    assert not (made / "data" / "postmaster.pid").exists()
    await cluster.ensure()
    assert word(cluster) == "so"


async def test_stopping_what_does_not_run_changes_nothing(make: Make, reachable: Path) -> None:
    await make(reachable).stop()
    assert os.listdir(reachable) == []
