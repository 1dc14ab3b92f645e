"""A recording goes to the connection that asked for it, and to nobody else."""

import base64
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from control.fix_control import SCRIPTED, Caller, CallRefused, Control
from storewatch.wire import Code
from storewatchd.core import recording
from storewatchd.replay import replay


@pytest.fixture
async def other(control: Control) -> AsyncIterator[Caller]:
    """Another client."""
    caller = await control.connect()
    yield caller
    caller.client.close()


async def taken(caller: Caller, name: str) -> bytes:
    """Return a recording's bytes, to its end."""
    content = b""
    while (notice := await caller.notice())["method"] == "recording":
        assert notice["params"]["recording"] == name
        content += base64.b64decode(notice["params"]["data"])
    assert notice == {
        "jsonrpc": "2.0",
        "method": "end",
        "params": {"recording": name, "reason": "the time is over"},
    }
    return content


async def test_what_is_learned_and_decided_is_recorded_and_replays(
    control: Control, other: Caller, tmp_path: Path
) -> None:
    name = (await control.call("probes.record", seconds=0.3))["recording"]
    created = await other.call("alerts.create", severity="info", source="s", title="t")
    await other.call("probes.run", probe="repositories")
    content = await taken(control, name)
    kinds = [message[0] for message in recording.messages([content])]
    assert kinds[0] == "start"
    assert kinds[-1] == "end"
    assert {"fact", "round", "transitions"} <= set(kinds)
    path = tmp_path / "recording"
    path.write_bytes(content)
    lines: list[bytes] = []
    found = await replay(path, version="1.2.3", tell=lines.append)
    assert (found.is_whole, found.differs_at, found.transitions) == (True, None, 1)
    assert created["id"].encode() in lines[0]


async def test_no_secret_is_in_it(control: Control, other: Caller) -> None:
    name = (await control.call("probes.record", seconds=0.2))["recording"]
    made = await other.call("tokens.create", name="n", permissions=["monitoring:read"])
    await other.call("tokens.revoke", id=made["token"]["id"])
    (token,) = control.node.books.tokens.all()
    content = await taken(control, name)
    for message in recording.messages([content]):
        assert token.digest not in repr(message)
        assert made["secret"] not in repr(message)


async def test_there_is_one_at_a_time_and_the_next_after_it(
    control: Control, other: Caller
) -> None:
    name = (await control.call("probes.record", seconds=0.1))["recording"]
    code, told = await other.refusal("probes.record", seconds=1)
    assert code == Code.LIMIT_REACHED
    assert "under way" in told
    await taken(control, name)
    again = (await other.call("probes.record", seconds=0.01))["recording"]
    assert again != name
    await taken(other, again)


async def test_a_client_that_goes_away_ends_it(control: Control, other: Caller) -> None:
    await other.call("probes.record", seconds=3600)
    other.client.close()
    # The next one can begin once the daemon has noticed.
    while True:
        await control.call("probes.run", probe=SCRIPTED)
        with contextlib.suppress(CallRefused):
            name = (await control.call("probes.record", seconds=0.01))["recording"]
            break
    await taken(control, name)
