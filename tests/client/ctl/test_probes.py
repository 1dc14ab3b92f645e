"""storewatchctl probes: how what is looked at is shown, on terminals and in a pipe."""

import io
from typing import Any

import msgspec
import pytest
from rich.console import Console

from fix_shapes import NOON
from storewatch.ctl.commands.probes import _show
from storewatch.ctl.output import Output
from storewatch.ctl.session import Session
from storewatch.wire import types


def listed(**changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "probe": "tape_drive_logs",
        "scope": {"drive": "LABD000100"},
        "outcome": "seen",
        "reason": "",
        "last_run": NOON,
        "last_seen": NOON,
        "duration_seconds": 0.1,
        "interval_seconds": 30.0,
        "stuck_since": None,
        "rows": 1,
    }
    return {**plain, **changes}


LOOKS = (
    listed(probe="library_element_states", scope={"library": "LABVTL0002"}),
    listed(
        probe="fibrechannel", scope={}, outcome="absent", reason="there is no Fibre Channel port"
    ),
    listed(probe="vtl_units", scope={"drive": "", "library": "LABVTL0002"}),
    listed(probe="vtl_units", scope={"drive": "LABD000200", "library": "LABVTL0002"}),
    listed(scope={"path": "/srv/backup"}, reason="word " * 20),
)


def show(session: Session) -> None:
    _show(session, msgspec.convert({"probes": LOOKS}, types.ProbeList))


def on_terminal(width: int) -> str:
    screen = io.StringIO()
    session = Session(Output())
    session.out.is_terminal = True
    session.out._console = Console(
        file=screen, width=width, force_terminal=True, color_system=None, markup=False
    )
    show(session)
    lines = screen.getvalue().splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    return screen.getvalue()


def test_at_80_columns_no_serial_number_is_broken() -> None:
    shown = on_terminal(80)
    assert shown.count("LABVTL0002") == 3
    assert shown.count("LABD000200") == 1
    assert shown.count("/srv/backup") == 1


def test_a_wide_terminal_says_what_each_part_of_a_scope_is() -> None:
    shown = on_terminal(160)
    assert "drive=LABD000200, library=LABVTL0002" in shown
    assert "TOOK" in shown


def test_a_part_of_a_scope_that_does_not_apply_is_left_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show(Session(Output()))
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[3][:3] == ["vtl_units", "library=LABVTL0002", "seen"]
