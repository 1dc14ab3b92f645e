"""Tools: what is looked at before and after, when none is run, and what becomes of a hung one."""

import dataclasses
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.dstate import HangingMount
from reader.fix_reader import Desk, Reply
from storewatch_reader import tools
from storewatch_reader.roots import Roots
from storewatch_reader.table import ToolRow
from storewatch_reader.tools import Deferred, Gone, NotAllowed
from system.appliance import wait_for

DRIVE = "3:0:1:0"


def row(*argv: str, safety: str = "P1", max_bytes: int = 1000, **bounds: float) -> ToolRow:
    told = {"answer_by_s": 30.0, "kill_after_s": 60.0, **bounds}
    return ToolRow(
        "t", "tool", "", object="scsi", safety=safety, argv=argv, max_bytes=max_bytes, **told
    )


class Machine:
    """A sysfs and a /dev with SCSI devices, and a directory of tools."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("sys", "dev", "bin"):
            (root / name).mkdir()
        self.roots = Roots(
            sysfs=f"{root}/sys",
            dev=f"{root}/dev",
            path=f"{root}/bin:/usr/bin:/bin",
            environ={"LAB": "yes"},
        )

    def add(self, address: str, sg: str, *tapes: str, can_queue: int = 64) -> None:
        host = address.partition(":")[0]
        self.say(f"class/scsi_host/host{host}/can_queue", can_queue)
        self.say(f"class/scsi_host/host{host}/host_busy", 0)
        self.say(f"class/scsi_device/{address}/device/state", "running")
        for kind, names in (("scsi_generic", (sg,)), ("scsi_tape", tapes)):
            for name in names:
                (self.root / f"sys/class/scsi_device/{address}/device/{kind}/{name}").mkdir(
                    parents=True
                )
                (self.root / "dev" / name).touch()
        for name in tapes[:1]:
            for counter in ("in_flight", "read_cnt", "write_cnt", "other_cnt"):
                self.say(f"class/scsi_tape/{name}/stats/{counter}", 0)

    def say(self, attribute: str, value: object) -> None:
        path = self.root / "sys" / attribute
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")

    def tool(self, name: str, script: str) -> None:
        """Install a tool."""
        path = self.root / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def run(self, asked: ToolRow, address: str = DRIVE) -> tuple[dict[str, Any], bytes]:
        return tools.run(self.roots, asked, address)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.add(DRIVE, "sg4", "st0", "nst0")
    return machine


# What is run.


def test_a_tool_gets_the_node_and_its_output_and_status_are_told(machine: Machine) -> None:
    machine.tool("ask", 'printf "\\000$LAB $LC_ALL $*"; echo no >&2; cat; exit 5')
    value, output = machine.run(row("ask", "-f", "{sg}"))
    assert output == b"\0yes C -f " + os.fsencode(machine.root / "dev" / "sg4")
    assert (value["status"], value["stderr"], value["raced"]) == (5, "no\n", False)
    assert value["host_limit"] == 4
    assert value["duration_s"] > 0


def test_a_tool_that_dies_is_told_by_its_signal(machine: Machine) -> None:
    machine.tool("ask", "kill -SEGV $$")
    assert machine.run(row("ask"))[0]["status"] == -signal.SIGSEGV


def test_of_endless_output_only_the_beginning_is_taken(machine: Machine) -> None:
    machine.tool("ask", "yes | head -c 300000; yes e | head -c 300000 >&2")
    value, output = machine.run(row("ask", max_bytes=1000))
    assert (len(output), len(value["stderr"])) == (1000, tools.MAX_STDERR_BYTES)
    assert value["status"] == 0


def test_a_tool_that_is_not_installed_is_named(machine: Machine) -> None:
    with pytest.raises(FileNotFoundError, match="install it: 'nothing'"):
        machine.run(row("nothing"))


# When none is run.


def test_a_device_that_is_not_there_is_gone(machine: Machine) -> None:
    with pytest.raises(Gone, match="no SCSI device 9:0:0:0"):
        machine.run(row("ask"), "9:0:0:0")


def test_a_device_without_a_node_cannot_be_asked(machine: Machine) -> None:
    machine.say("class/scsi_device/4:0:0:0/device/state", "running")
    with pytest.raises(Gone, match="is the module sg loaded"):
        machine.run(row("ask"), "4:0:0:0")


@pytest.mark.parametrize("state", ["offline", "blocked", "created"])
def test_a_device_that_does_not_run_is_not_asked(machine: Machine, state: str) -> None:
    machine.say(f"class/scsi_device/{DRIVE}/device/state", state)
    with pytest.raises(Deferred, match=f"the kernel has {DRIVE} as '{state}'"):
        machine.run(row("ask"))


@pytest.mark.parametrize("node", ["sg4", "nst0", "st0"])
def test_a_device_that_somebody_holds_is_not_asked(machine: Machine, node: str) -> None:
    with (machine.root / "dev" / node).open("rb") as held:
        holder = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(held.fileno(),)
        )
    try:
        with pytest.raises(
            Deferred, match=rf"python\S* \(pid {holder.pid}, {node}\) holds {DRIVE}"
        ):
            machine.run(row("ask"))
    finally:
        holder.communicate(b"\n")


def test_a_node_of_the_same_name_elsewhere_holds_nothing(machine: Machine, tmp_path: Path) -> None:
    machine.tool("ask", "true")
    (tmp_path / "sg4").touch()
    with (tmp_path / "sg4").open("rb"):
        assert machine.run(row("ask"))[0]["status"] == 0


@pytest.mark.parametrize(
    ("attribute", "sentence"),
    [
        pytest.param("class/scsi_tape/st0/stats/in_flight", "in flight", id="drive"),
        pytest.param("class/scsi_host/host3/host_busy", "one command at a time", id="host"),
    ],
)
def test_a_device_at_work_is_not_asked(machine: Machine, attribute: str, sentence: str) -> None:
    machine.say("class/scsi_host/host3/can_queue", 1)
    machine.say(attribute, 1)
    with pytest.raises(Deferred, match=sentence):
        machine.run(row("ask"))


def test_a_host_with_room_may_be_busy(machine: Machine) -> None:
    machine.tool("ask", "true")
    machine.say("class/scsi_host/host3/host_busy", 7)
    assert machine.run(row("ask"))[0]["status"] == 0


def test_what_consumes_is_run_where_that_was_allowed(machine: Machine) -> None:
    machine.tool("ask", "true")
    with pytest.raises(NotAllowed, match=r"class P2.*start it with --tapealert-broker"):
        machine.run(row("ask", safety="P2"))
    allowed = Roots(**{**vars(machine.roots), "allowed": frozenset(("P2",))})
    assert tools.run(allowed, row("ask", safety="P2"), DRIVE)[0]["status"] == 0


# The kernel's own count of open nodes.


@pytest.fixture
def counting(machine: Machine) -> Iterator[Machine]:
    """A machine whose kernel counts who has nodes open; somebody holds nst0, as only /proc shows.

    No real kernel is like that: so it shows which of the two was looked at.
    """
    machine.tool("ask", "true")
    for driver in ("sg", "st"):
        machine.say(f"module/{driver}/refcnt", 0)
    with (machine.root / "dev/nst0").open("rb") as held:
        holder = subprocess.Popen(["sleep", "60"], pass_fds=(held.fileno(),))
    yield machine
    holder.kill()
    holder.wait()


def test_where_the_kernel_counts_no_open_node_nobody_holds_anything(counting: Machine) -> None:
    value, _ = counting.run(row("ask"))
    assert (value["status"], value["raced"]) == (0, False)


@pytest.mark.parametrize("driver", ["sg", "st"])
@pytest.mark.parametrize("count", ["1", "-1", "", None], ids=["open", "going", "empty", "built in"])
def test_any_other_count_has_every_process_looked_at(
    counting: Machine, driver: str, count: str | None
) -> None:
    counting.say(f"module/{driver}/refcnt", count)
    if count is None:
        (counting.root / f"sys/module/{driver}/refcnt").unlink()
    with pytest.raises(Deferred, match="sleep"):
        counting.run(row("ask"))


def test_a_count_that_cannot_be_read_has_every_process_looked_at(counting: Machine) -> None:
    (counting.root / "sys/module/st/refcnt").unlink()
    (counting.root / "sys/module/st/refcnt").mkdir()
    with pytest.raises(Deferred, match="sleep"):
        counting.run(row("ask"))


def test_a_node_of_an_unknown_driver_has_every_process_looked_at(counting: Machine) -> None:
    counting.add("3:0:2:0", "sg5", "other0")
    with (counting.root / "dev/other0").open("rb") as held:
        holder = subprocess.Popen(["sleep", "60"], pass_fds=(held.fileno(),))
    try:
        with pytest.raises(Deferred, match=r"sleep.*other0"):
            counting.run(row("ask"), "3:0:2:0")
    finally:
        holder.kill()
        holder.wait()


def test_tape_nodes_that_are_open_are_nothing_to_a_library(counting: Machine) -> None:
    counting.add("3:0:0:0", "sg3")
    counting.say("module/st/refcnt", 2)
    with (counting.root / "dev/sg3").open("rb") as held:
        holder = subprocess.Popen(["sleep", "60"], pass_fds=(held.fileno(),))
    try:
        assert counting.run(row("ask"), "3:0:0:0")[0]["status"] == 0
    finally:
        holder.kill()
        holder.wait()


def test_who_came_while_a_tool_ran_is_told_by_the_count(counting: Machine) -> None:
    counting.tool("ask", f"echo 2 > {counting.root}/sys/module/st/refcnt")
    assert counting.run(row("ask"))[0]["raced"] is True


def test_a_count_that_our_own_tools_hold_up_is_no_race(machine: Machine) -> None:
    for driver in ("sg", "st"):
        machine.say(f"module/{driver}/refcnt", 0)
    machine.tool("ask", f"echo 2 > {machine.root}/sys/module/sg/refcnt")
    assert machine.run(row("ask"))[0]["raced"] is False, "nobody holds this device"


# What happens meanwhile.


def test_a_backup_that_began_meanwhile_is_told(machine: Machine) -> None:
    counter = machine.root / "sys/class/scsi_tape/st0/stats/write_cnt"
    machine.tool("ask", f"echo 1 > {counter}")
    assert machine.run(row("ask"))[0]["raced"] is True


def test_a_command_in_flight_afterwards_is_told(machine: Machine) -> None:
    flying = machine.root / "sys/class/scsi_tape/st0/stats/in_flight"
    machine.tool("ask", f"echo 1 > {flying}")
    assert machine.run(row("ask"))[0]["raced"] is True


# In a worker.


def ask(desk: Desk, asked: ToolRow, address: str = DRIVE) -> Reply:
    reply = Reply()
    desk.pool.ask(asked, address, reply)
    desk.pool.start()
    return reply


@pytest.fixture
def desk(machine: Machine, tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(machine.roots, tmp_path / "locks")
    yield desk
    desk.settle()


def test_a_worker_answers_with_value_and_output(desk: Desk, machine: Machine) -> None:
    machine.tool("ask", "printf bytes")
    reply = ask(desk, row("ask"))
    desk.settle()
    ((header, blob),) = reply.answers
    assert (header["value"]["status"], blob) == (0, b"bytes")


@pytest.mark.parametrize(
    ("asked", "address", "error"),
    [
        pytest.param(row("ask"), "9:0:0:0", "absent", id="absent"),
        pytest.param(row("ask", safety="P2"), DRIVE, "unknown", id="not allowed"),
        pytest.param(row("nothing"), DRIVE, "refused", id="not installed"),
    ],
)
def test_what_was_not_run_is_told_as_that(
    desk: Desk, asked: ToolRow, address: str, error: str
) -> None:
    reply = ask(desk, asked, address)
    desk.settle()
    assert reply.header["error"] == error


def test_what_to_do_about_a_tool_that_is_missing_is_told(desk: Desk) -> None:
    reply = ask(desk, row("nothing"))
    desk.settle()
    assert reply.header["message"] == "nothing: No such program; install it"


def test_a_busy_device_is_deferred(desk: Desk, machine: Machine) -> None:
    machine.say("class/scsi_tape/st0/stats/in_flight", 1)
    reply = ask(desk, row("ask"))
    desk.settle()
    assert reply.header["error"] == "deferred"


def test_two_reads_of_one_device_come_one_after_the_other(desk: Desk, machine: Machine) -> None:
    # A second one at the same time would find the directory.
    machine.tool(
        "ask", f"mkdir {machine.root}/at-work && sleep 0.1 && rmdir {machine.root}/at-work"
    )
    replies = [
        ask(desk, ToolRow(**{**vars(row("ask", word)), "name": word})) for word in ("a", "b")
    ]
    assert len(desk.pool) == 1
    desk.settle()
    assert [one.header["value"]["status"] for one in replies] == [0, 0]


@pytest.mark.parametrize(("can_queue", "at_once"), [(1, 1), (64, 4)])
def test_a_host_is_asked_only_so_much_at_once(
    desk: Desk, machine: Machine, can_queue: int, at_once: int
) -> None:
    addresses = [f"5:0:{number}:0" for number in range(6)]
    for number, address in enumerate(addresses):
        machine.add(address, f"sg{10 + number}", can_queue=can_queue)
    machine.tool("ask", "sleep 0.05")
    ask(desk, row("ask"), addresses[0])
    desk.settle()  # how much a host takes is known after the first
    replies = [ask(desk, row("ask"), address) for address in addresses]
    assert len(desk.pool) == at_once
    desk.settle()
    assert [one.header["value"]["status"] for one in replies] == [0] * 6


def test_a_tool_that_hangs_is_killed_with_its_worker(desk: Desk, machine: Machine) -> None:
    machine.tool("ask", f"echo $$ > {machine.root}/pid; exec sleep 100")
    reply = ask(desk, row("ask", answer_by_s=0.3, kill_after_s=0.5))
    desk.settle()
    assert reply.header["error"] == "stuck"
    pid = int((machine.root / "pid").read_text())
    wait_for("its end", lambda: not Path(f"/proc/{pid}").exists())


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_tool_in_the_kernel_keeps_its_device_closed_until_it_is_let_go(
    machine: Machine, tmp_path: Path
) -> None:
    machine.add("3:0:2:0", "sg5")
    with HangingMount(tmp_path / "hung") as hung:
        machine.tool("ask", f"echo $$ > {machine.root}/pid; exec stat {hung.path}/nst0")
        desk = Desk(machine.roots, tmp_path / "locks")
        hung.hang()
        reply = ask(desk, row("ask", answer_by_s=0.3, kill_after_s=0.5))
        assert hung.held.wait(10)
        desk.work(lambda: not len(desk.pool))  # the worker is gone, and its tool cannot go
        assert reply.header["error"] == "stuck"
        pid = int((machine.root / "pid").read_text())
        assert Path(f"/proc/{pid}").exists()
        # Another reader, too, finds the device closed, and its host, of which nothing is known.
        another = Desk(machine.roots, tmp_path / "locks")
        assert ask(another, row("true")).header["key"] == f"scsi:{DRIVE}"
        assert ask(another, row("true"), "3:0:2:0").header["key"] == "scsi.host:3"
        hung.release()
        wait_for("its end", lambda: not Path(f"/proc/{pid}").exists())
        reply = ask(desk, row("true"))
        desk.settle()
        assert reply.header["value"]["status"] == 0


# What consumes.


def test_what_consumes_is_asked_while_the_asker_holds_the_device(machine: Machine) -> None:
    machine.roots = dataclasses.replace(machine.roots, allowed=frozenset(("P0", "P1", "P2")))
    machine.tool("ask", "echo flags")
    machine.say("class/scsi_tape/st0/stats/in_flight", 1)
    with (machine.root / "dev" / "nst0").open("rb") as held:
        holder = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(held.fileno(),)
        )
    try:
        with pytest.raises(Deferred):
            machine.run(row("ask"))
        value, output = machine.run(row("ask", safety="P2"))
        assert (output, value["raced"]) == (b"flags\n", False)
        machine.say(f"class/scsi_device/{DRIVE}/device/state", "offline")
        with pytest.raises(Deferred, match="offline"):
            machine.run(row("ask", safety="P2"))
    finally:
        holder.communicate()
