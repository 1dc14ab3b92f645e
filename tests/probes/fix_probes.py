"""Frames as tests read them: a family's rows by their labels."""

from pathlib import Path

from storewatchd.core.frames import Frame, Row
from storewatchd.probes.base import Probe

CAPTURED = Path(__file__).parent.parent / "data" / "linux-6.18-virtual"


def captured(name: str) -> str:
    """Return a file of /proc that was captured."""
    return (CAPTURED / "proc" / name).read_text()


def captured_tree(root: str) -> dict[str, bytes | int]:
    """Return the attributes below a folder of /sys that was captured, as the reader tells them."""
    top = CAPTURED / "sys" / root
    return {
        str(path.relative_to(top)): path.read_bytes()
        for path in sorted(top.rglob("*"))
        if path.is_file()
    }


def by_labels(rows: list[Row]) -> dict[tuple[str, ...], float]:
    """Return rows by their labels; no two have the same."""
    found = {row.labels: row.value for row in rows}
    assert len(found) == len(rows)
    return found


def values(frame: Frame, family: str) -> dict[tuple[str, ...], float]:
    return by_labels(list(frame.rows[family]))


def assert_keeps_to_its_families(probe: Probe, frame: Frame) -> None:
    """Every row belongs to a family of the probe, and has a value for each of its labels."""
    families = {family.name: family for family in probe.families}
    for name, rows in frame.rows.items():
        for row in rows:
            assert len(row.labels) == len(families[name].labels)
