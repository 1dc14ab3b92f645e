"""The tap tells every fact that comes through the port, and changes none."""

import pytest

from fakes import ScriptedPort
from storewatchd.errors import ProbeFailed, ReadRefused
from storewatchd.port.tap import Fact, TappedPort


@pytest.fixture
def outside() -> ScriptedPort:
    port = ScriptedPort()
    port.readings["mounts", ""] = {"mountinfo": "1"}
    port.readings["statvfs.path", "/a"] = ReadRefused("/a: no", errno=13)
    port.facts["load"] = (1.0, 2.0, 3.0)
    return port


async def test_answers_errors_and_host_facts_are_told_as_they_are(outside: ScriptedPort) -> None:
    told: list[Fact] = []
    port = TappedPort(outside)
    port.listener = told.append
    reading = await port.read("mounts")
    with pytest.raises(ProbeFailed):
        await port.read("statvfs.path", "/a")
    assert port.host("load") == (1.0, 2.0, 3.0)
    port.told("uevent", ["add", "/devices/x", "scsi"])
    assert told == [
        Fact(reading.at, reading.duration_s, "mounts", "", "value", {"mountinfo": "1"}),
        Fact(0.0, 0.0, "statvfs.path", "/a", "ReadRefused", "/a: no"),
        Fact(0.0, 0.0, "host", "load", "value", (1.0, 2.0, 3.0)),
        Fact(0.0, 0.0, "uevent", "", "value", ["add", "/devices/x", "scsi"]),
    ]


async def test_nobody_need_listen(outside: ScriptedPort) -> None:
    port = TappedPort(outside)
    assert (await port.read("mounts")).value == {"mountinfo": "1"}
    assert port.host("load") == (1.0, 2.0, 3.0)
