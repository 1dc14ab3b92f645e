"""The reader's loop from outside: who may ask, what is refused, and who is cut off."""

import os
import resource
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.dstate import HangingMount
from reader.fix_reader import (
    NOBODY,
    Asker,
    Serving,
    SlowKernel,
    as_another_user,
    serving,
)
from storewatch_reader.message import Unpacker, pack
from storewatch_reader.roots import Roots
from storewatch_reader.server import MAX_OBJECT_BYTES, MAX_REFUSED, MAX_WAITING_BYTES
from storewatch_reader.table import PROTOCOL, Row, TreeRow, digest
from storewatch_reader.workers import MAX_UNDER_WAY

ROWS: dict[str, Row] = {
    row.name: row
    for row in (
        # A machine that is busy is no reason to be sent away.
        Row("statvfs.path", "read", "", object="path", answer_by_s=60.0, kill_after_s=90.0),
        Row("mounts", "read", ""),
        TreeRow("tree", "tree", "", root="block", attributes=("*/size", "*/ro")),
        TreeRow("chip", "tree", "", object="hwmon", root="block", attributes=("size",)),
        TreeRow("zone", "tree", "", object="zone", root="block", attributes=("size",)),
        TreeRow("port", "tree", "", object="fc_host", root="block", attributes=("size",)),
        TreeRow("big", "tree", "", root="big", attributes=("*/text",)),
    )
}


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[SlowKernel]:
    """A kernel whose row `mounts` waits until it is released."""
    with SlowKernel(tmp_path / "proc") as kernel:
        yield kernel


@pytest.fixture
def server(kernel: SlowKernel, tmp_path: Path) -> Iterator[Serving]:
    roots = Roots(os.fspath(tmp_path / "sys"), kernel.roots.procfs)
    with serving(roots, tmp_path / "locks", rows=ROWS) as server:
        yield server


@pytest.fixture
def asker(server: Serving) -> Asker:
    return server.connect()


def write(directory: Path, **attributes: bytes) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in attributes.items():
        (directory / name).write_bytes(content)


# Greeting and refusing.


def test_hello_tells_protocol_table_and_process(asker: Asker) -> None:
    assert asker.ask("hello") == {
        "id": 1,
        "protocol": PROTOCOL,
        "table": digest(),
        "pid": os.getpid(),
        "uid": os.geteuid(),
    }


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        pytest.param({"verb": "read", "row": "x"}, "no 'read' of 'x'", id="row"),
        pytest.param({"verb": "write", "row": "mounts"}, "no 'write' of 'mounts'", id="verb"),
        pytest.param({"verb": "tree", "row": "mounts"}, "no 'tree' of 'mounts'", id="other verb"),
        pytest.param({"verb": "read"}, "no 'read' of ''", id="no row"),
        pytest.param(
            {"verb": "read", "row": "mounts", "object": "/"}, "object is empty", id="object"
        ),
        pytest.param({"verb": "read", "row": "statvfs.path"}, "absolute path", id="no object"),
        *(
            pytest.param({"verb": "tree", "row": row, "object": bad}, words, id=f"{row}, {bad!r}")
            for row, words, good in (
                ("chip", "hwmonN", "hwmon0"),
                ("zone", "zoneN", "thermal_zone0"),
                ("port", "hostN", "host0"),
            )
            for bad in (
                "",
                "..",
                "sda",
                f"{good}/device",
                f"{good}\n",
                good.rstrip("0"),
                f"{good}x",
            )
        ),
        *(
            pytest.param(
                {"verb": "read", "row": "statvfs.path", "object": bad}, "absolute path", id=name
            )
            for name, bad in (
                ("relative", "etc"),
                ("up", "/a/../b"),
                ("here", "/a/."),
                ("zero byte", "/a\0b"),
                ("long", "/" + "x" * MAX_OBJECT_BYTES),
                ("long in bytes", "/" + "\u20ac" * (MAX_OBJECT_BYTES // 2)),
                ("no character", "/\ud800"),
                ("number", 7),
                ("list", ["/"]),
            )
        ),
    ],
)
def test_what_is_not_in_the_table_is_refused_in_words(
    asker: Asker, asked: dict[str, Any], words: str
) -> None:
    answer = asker.ask(**asked)
    assert answer["error"] == "unknown"
    assert words in answer["message"]
    assert asker.ask("hello")["protocol"] == PROTOCOL


def test_an_unknown_row_names_the_remedy(asker: Asker) -> None:
    assert asker.ask("tree", "sys.tape")["message"] == (
        "this reader has no 'tree' of 'sys.tape'; after an upgrade, restart it"
    )


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="another protocol"),
        pytest.param(pack({"verb": "hello"}), id="no number"),
        pytest.param(pack({"id": "1", "verb": "hello"}), id="a number that is text"),
        pytest.param(pack({"id": 1}), id="no verb"),
        pytest.param(pack({"id": 1, "verb": "read", "row": ["mounts"]}), id="a row that is none"),
        # Decoded with the stack that there is, and not to be encoded or shown with a little more.
        *(
            pytest.param(
                struct.pack("!II", 4 + len(head), len(head)) + head, id=f"deep {member} {depth}"
            )
            for member in ("id", "verb", "row")
            for depth in (900, 950, 960)
            for head in [
                b'{"verb":"read","id":1,"%s":%s%s}' % (member.encode(), b"[" * depth, b"]" * depth)
            ]
        ),
    ],
)
def test_what_is_no_request_ends_the_connection_and_no_other(
    server: Serving, asker: Asker, stream: bytes
) -> None:
    bad = server.connect()
    bad.connection.sendall(stream)
    assert bad.is_cut()
    assert asker.ask("hello")["protocol"] == PROTOCOL


def test_requests_of_one_piece_are_all_answered(asker: Asker, tmp_path: Path) -> None:
    asker.connection.sendall(
        b"".join(
            pack({"id": number, "verb": "read", "row": "statvfs.path", "object": f"{path}"})
            for number, path in ((1, tmp_path), (2, tmp_path / "missing"))
        )
    )
    answers = {
        header["id"]: header["value"]["exists"] for header, _ in (asker.hear(), asker.hear())
    }
    assert answers == {1: True, 2: False}


def test_more_reads_than_can_be_under_way_are_all_answered(asker: Asker, tmp_path: Path) -> None:
    count = MAX_UNDER_WAY + 8
    asker.connection.sendall(
        b"".join(
            pack({"id": number, "verb": "read", "row": "statvfs.path", "object": f"/{number}"})
            for number in range(count)
        )
    )
    answers = [asker.hear()[0] for _ in range(count)]
    assert {one["id"] for one in answers if "value" in one} == set(range(count))


def test_a_path_that_is_no_text_is_a_path(asker: Asker, tmp_path: Path) -> None:
    os.mkdir(os.fsencode(tmp_path) + b"/\xff")
    answer = asker.ask("read", "statvfs.path", object=f"{tmp_path}/\udcff")
    assert answer["value"]["real_path"] == f"{tmp_path}/\udcff"


# Trees.


def test_a_known_plan_leaves_out_the_paths(asker: Asker, tmp_path: Path) -> None:
    write(tmp_path / "sys" / "block" / "sda", size=b"8\n", ro=b"0\n")
    plan, paths, contents = asker.tree("tree")
    assert (paths, contents) == (["sda/size", "sda/ro"], b"8\n0\n")
    asker.say("tree", "tree", plan=plan)
    header, blob = asker.hear()
    assert header == {"id": 2, "plan": plan, "count": 2, "text": 0}
    assert blob == struct.pack("2i", 2, 2) + b"8\n0\n"


def test_a_changed_directory_has_a_new_plan(asker: Asker, tmp_path: Path) -> None:
    write(tmp_path / "sys" / "block" / "sda", size=b"8\n")
    first, _, _ = asker.tree("tree")
    write(tmp_path / "sys" / "block" / "sdb", size=b"16\n")
    second, paths, _ = asker.tree("tree", plan=first)
    assert paths == ["sda/size", "sdb/size"]
    assert second != first


def test_who_asks_for_the_same_gets_the_paths_that_it_does_not_know(
    asker: Asker, tmp_path: Path
) -> None:
    write(tmp_path / "sys" / "block" / "sda", size=b"8\n")
    plan = asker.ask("tree", "tree")["plan"]
    # In one piece, so that both wait at the same time.
    asker.connection.sendall(
        pack({"id": 2, "verb": "tree", "row": "tree", "plan": plan})
        + pack({"id": 3, "verb": "tree", "row": "tree"})
    )
    assert [bool(header["text"]) for header, _ in (asker.hear(), asker.hear())] == [False, True]


# Askers.


def test_one_read_answers_all_who_ask_for_it(server: Serving, kernel: SlowKernel) -> None:
    askers = [server.connect(), server.connect()]
    for asker in askers:
        asker.say("read", "mounts")
        asker.settle()
    kernel.release()
    assert askers[0].hear() == askers[1].hear()


def test_an_asker_that_goes_away_takes_nobody_along(
    server: Serving, asker: Asker, kernel: SlowKernel
) -> None:
    gone = server.connect()
    for one in (gone, asker):
        one.say("read", "mounts")
        one.settle()
    gone.close()
    kernel.release()
    header, _ = asker.hear()
    assert header["value"]["mountinfo"] == "mounts\n"


def test_a_read_whose_only_asker_is_gone_ends_quietly(
    server: Serving, asker: Asker, kernel: SlowKernel
) -> None:
    gone = server.connect()
    gone.say("read", "mounts")
    gone.settle()
    gone.close()
    asker.ask("hello")
    kernel.release()
    kernel.mend()
    assert "value" in asker.ask("read", "mounts")


def test_a_pipe_that_another_process_still_has_open_harms_no_later_read(
    asker: Asker, kernel: SlowKernel
) -> None:
    with holder_of_everything() as hold:
        asker.say("read", "mounts")
        asker.settle()
        hold()
        kernel.release()
        kernel.mend()
        answers = [asker.hear()[0], *(asker.ask("read", "mounts") for _ in range(20))]
    assert all("value" in answer for answer in answers)


@contextmanager
def holder_of_everything() -> Iterator[Callable[[], None]]:
    """Yield what makes another process hold open all that is open then, as a worker does that was
    just forked."""
    let_go, keep = os.pipe()
    held: list[int] = []

    def hold() -> None:
        pid = os.fork()
        if pid == 0:
            os.close(keep)
            os.read(let_go, 1)
            os._exit(0)
        held.append(pid)

    try:
        yield hold
    finally:
        os.close(keep)
        os.close(let_go)
        for pid in held:
            os.waitpid(pid, 0)


def test_who_asks_and_goes_away_at_once_harms_nobody(tmp_path: Path) -> None:
    server = Serving(Roots(), tmp_path / "locks")
    hasty = server.connect()
    for _ in range(3):
        hasty.say("hello")
    hasty.say("read", "statvfs.path", object="/")
    hasty.close()
    server.start()
    try:
        asker = server.connect()
        assert asker.ask("read", "statvfs.path", object="/")["value"]["exists"]
    finally:
        server.stop()


def test_who_reads_nothing_is_cut_off(server: Serving, asker: Asker, tmp_path: Path) -> None:
    for number in range(250):
        write(tmp_path / "sys" / "big" / str(number), text=b"x" * 60_000)
    deaf = server.connect()
    count = MAX_WAITING_BYTES // (250 * 60_000) + 2
    deaf.connection.sendall(
        b"".join(pack({"id": n, "verb": "tree", "row": "big"}) for n in range(count))
    )
    # One read answers all of these, and then this one's own.
    assert asker.ask("tree", "big")["count"] == 250
    heard = 0
    while not deaf.is_cut():
        heard += 1
    assert heard < count


def test_an_answer_larger_than_the_sockets_buffer_comes_whole(asker: Asker, tmp_path: Path) -> None:
    for number in range(60):
        write(tmp_path / "sys" / "big" / str(number), text=b"x" * 60_000)
    _, _, contents = asker.tree("big")
    assert contents == b"x" * 60_000 * 60


# Stuck reads.


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
@pytest.mark.timeout(60)  # a kernel that is slow to unmount is no failure of the reader
def test_a_stuck_read_is_told_blocks_its_key_alone_and_opens_it_when_it_ends(
    tmp_path: Path,
) -> None:
    row = Row("statvfs.path", "read", "", object="path", answer_by_s=0.5, kill_after_s=0.6)
    with (
        HangingMount(tmp_path / "hung") as hung,
        serving(Roots(), tmp_path / "locks", rows={**ROWS, row.name: row}) as server,
    ):
        asker = server.connect()
        path = os.fspath(hung.path)
        hung.hang()
        stuck = asker.ask("read", "statvfs.path", object=path)
        assert (stuck["error"], stuck["key"]) == ("stuck", f"statvfs.path:{path}")
        again = asker.ask("read", "statvfs.path", object=path)
        assert (again["error"], again["since"]) == ("stuck", stuck["since"])
        assert "/proc" in asker.ask("read", "mounts")["value"]["mountinfo"]
        hung.release()
        answers = iter(lambda: asker.ask("read", "statvfs.path", object=path), None)
        assert next(one for one in answers if "value" in one)["value"]["blocks"] == 262_144


# Peers.


def hear_one(address: bytes) -> bytes:
    """Return what the reader says to a new connection before it hangs up."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(address)
        said = b""
        while chunk := connection.recv(4096):
            said += chunk
        return said


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_another_user_is_refused_in_words(server: Serving, asker: Asker) -> None:
    said = as_another_user(lambda: hear_one(server.address))
    ((header, _),) = Unpacker().feed(said)
    assert header == {
        "id": None,
        "error": "forbidden",
        "message": f"uid {NOBODY} may not ask this reader",
    }
    assert asker.ask("hello")["protocol"] == PROTOCOL


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_another_user_that_asks_after_the_refusal_reads_it_still(server: Serving) -> None:
    def wait_then_ask() -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(server.address)
            connection.recv(1, socket.MSG_PEEK)
            connection.sendall(pack({"id": 1, "verb": "hello"}))
            return connection.recv(4096)

    assert b"may not ask this reader" in as_another_user(wait_then_ask)


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_of_strangers_that_stay_the_first_is_hung_up_on(server: Serving, asker: Asker) -> None:
    def stay() -> bytes:
        # The last one is refused after the one before it has taken the first one's place.
        strangers = [socket.socket(socket.AF_UNIX) for _ in range(MAX_REFUSED + 2)]
        for one in strangers:
            one.settimeout(10)
            one.connect(server.address)
        strangers[-1].recv(1, socket.MSG_PEEK)
        try:
            strangers[0].send(b"x")
        except BrokenPipeError:
            return b"closed"
        return b"open"

    assert as_another_user(stay) == b"closed"
    assert asker.ask("hello")["protocol"] == PROTOCOL


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_another_user_that_is_gone_already_harms_nothing(tmp_path: Path) -> None:
    server = Serving(Roots(), tmp_path / "locks")

    def come_and_go() -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(server.address)
        return b""

    as_another_user(come_and_go)
    server.start()
    try:
        assert server.connect().ask("hello")["protocol"] == PROTOCOL
    finally:
        server.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_the_user_that_it_was_told_of_may_ask(tmp_path: Path) -> None:
    with serving(Roots(), tmp_path / "locks", allowed_uids=[NOBODY]) as server:

        def greet() -> bytes:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(server.address)
                return str(Asker(connection).ask("hello")["protocol"]).encode()

        assert as_another_user(greet) == b"%d" % PROTOCOL


def test_without_descriptors_those_who_are_there_are_served(server: Serving, asker: Asker) -> None:
    asker.ask("hello")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket(socket.AF_UNIX) as late:
        resource.setrlimit(resource.RLIMIT_NOFILE, (late.fileno(), before[1]))
        try:
            late.connect(server.address)
            assert asker.ask("hello")["protocol"] == PROTOCOL
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        assert Asker(late).ask("hello")["protocol"] == PROTOCOL
