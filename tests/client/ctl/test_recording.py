"""storewatchctl probes record: what comes is in the file, whatever ends it."""

import base64
import json
from pathlib import Path

import pytest

from client.ctl.test_commands import Ctl, ctl, peer, refusing
from fix_peer import WirePeer
from storewatch.wire import Code

__all__ = ["ctl", "peer"]


def notification(method: str, **params: str) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode() + b"\n"


def piece(content: bytes) -> bytes:
    return notification("recording", recording="r1", data=base64.b64encode(content).decode())


@pytest.fixture
def recorded(peer: WirePeer) -> WirePeer:
    peer.answers["probes.record"] = lambda asked: {"recording": "r1"}
    return peer


def test_the_pieces_are_written_to_a_file_of_this_users_own(
    recorded: WirePeer, ctl: Ctl, tmp_path: Path
) -> None:
    path = tmp_path / "out"
    recorded.behind = (
        piece(b"one ") + piece(b"two") + notification("end", recording="r1", reason="")
    )
    status, out, _ = ctl("probes", "record", "--for", "2m", "-o", str(path))
    assert (status, path.read_bytes()) == (0, b"one two")
    assert path.stat().st_mode & 0o777 == 0o600
    assert recorded.requests[-1]["params"] == {"seconds": 120.0}
    assert f"in {path}, 7 B" in out


def test_an_existing_file_is_left_alone(recorded: WirePeer, ctl: Ctl, tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("mine")
    status, _, error = ctl("probes", "record", "-o", str(path))
    assert (status, path.read_text()) == (1, "mine")
    assert "file exists" in error
    assert "probes.record" not in [one["method"] for one in recorded.requests]


def test_a_refusal_leaves_no_file(peer: WirePeer, ctl: Ctl, tmp_path: Path) -> None:
    path = tmp_path / "out"
    peer.answers["probes.record"] = refusing(Code.LIMIT_REACHED, "one is under way")
    status, _, error = ctl("probes", "record", "-o", str(path))
    assert status == 1
    assert "one is under way" in error
    assert not path.exists()


def test_what_came_before_the_daemon_went_away_is_kept(
    recorded: WirePeer, ctl: Ctl, tmp_path: Path
) -> None:
    path = tmp_path / "out"
    recorded.behind = piece(b"so far") + b"no JSON\n"
    status, _, error = ctl("probes", "record", "-o", str(path))
    assert status != 0
    assert path.read_bytes() == b"so far"
    assert str(path) in error
