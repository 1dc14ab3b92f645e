"""The emulated ports: what the reader's rows tell of them."""

from pathlib import Path

import pytest

from lab.fibrechannel import STATISTICS, FcPort
from reader.fix_reader import paths_of
from storewatch_reader.table import ROWS, TreeRow
from storewatch_reader.trees import Pass, compiled
from storewatchd.probes.fibrechannel import parse_ports, parse_statistics

FIRST, SECOND = "21:00:00:24:ff:7e:3c:01", "21:00:00:24:ff:7e:3c:02"


def told(sysfs: Path, name: str, object_id: str = "") -> dict[str, bytes | int]:
    """Return what a row tells."""
    row = ROWS[name]
    assert isinstance(row, TreeRow)
    found = Pass()
    found.take(str(sysfs / row.root / object_id), compiled(row.attributes))
    contents = iter(found.parts)
    return {
        path: next(contents) if length >= 0 else length
        for path, length in zip(paths_of(found), found.lengths, strict=True)
    }


@pytest.fixture
def ports(tmp_path: Path) -> tuple[FcPort, FcPort]:
    return FcPort(tmp_path, 3, FIRST), FcPort(tmp_path, 4, SECOND)


def test_ports_go_down_and_up_and_away(tmp_path: Path, ports: tuple[FcPort, FcPort]) -> None:
    first, second = ports
    first.log_in()
    first.log_in()
    states = [(one.port, one.state, one.remote) for one in parse_ports(told(tmp_path, "sys.fc"))]
    assert states == [(FIRST, "online", ("online", "online")), (SECOND, "online", ())]
    first.go_down()
    (one, _) = parse_ports(told(tmp_path, "sys.fc"))
    assert (one.state, one.speed_bits) == ("linkdown", None)
    assert one.remote == ("not_present", "not_present")
    first.come_up()
    second.die()
    (one,) = parse_ports(told(tmp_path, "sys.fc"))
    assert (one.state, one.speed_bits, one.facts[3]) == ("online", 16e9, "010300")


def test_adapters_count(tmp_path: Path, ports: tuple[FcPort, FcPort]) -> None:
    ports[0].count("loss_of_sync_count", 300)
    statistics = told(tmp_path, "sys.fc.statistics", "host3")
    assert set(statistics) == {f"statistics/{name}" for name in STATISTICS}
    numbers = parse_statistics(statistics)
    assert {name: count for name, count in numbers.items() if count} == {"loss_of_sync_count": 300}
