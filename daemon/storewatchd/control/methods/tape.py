"""tape.*: the TapeAlert flags of a drive or library, for the programs that use it.

The page that tells of them forgets what it said, so it is read once for all who ask, and what it
said is kept. Who asks says what arrived: before that nothing counts as told.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

from storewatch.wire import params
from storewatchd.collector import Collector
from storewatchd.control.dispatch import Call, Handler
from storewatchd.core.model import format_time
from storewatchd.errors import Conflict, NotFound, ProbeError, Unavailable
from storewatchd.port import Port
from storewatchd.probes.tape.alert_book import Occurrence
from storewatchd.probes.tape.alerts import Kind, TapeAlerts, TapeAlertsProbe

READ_WITHIN_S = 50.0
"""How long a read is waited for: less than a call may take, so that its reason is told."""

MAX_LOOKS = 3
"""A request that comes in the middle of a look is for the next one."""


def handlers(
    collector: Collector, port: Port, alerts: TapeAlerts, keep: Callable[[], Awaitable[None]]
) -> Mapping[str, Handler]:
    """Return the methods of this noun; `keep` writes what probes remember."""

    async def alert(call: Call, asked: params.TapeAlert) -> dict[str, Any]:
        if not alerts.is_broker:
            raise Conflict(
                "the TapeAlert broker is off: log page 2Eh is not ours to read before the setting "
                "tape.alert_broker and the reader's option --tapealert-broker say so"
            )
        probe, device = await _found(port, alerts, asked.device)
        flags, asker = probe.book.of(device), _asker(call, asked.asker)
        # What is set until now is due to who never asked, even where this read ends it.
        last, due = flags.last, flags.due(asker)
        unread = await _read(collector, probe, device)
        due += [one for one in flags.due(asker) if one not in due]
        if flags.last != last:
            await keep()  # the device does not say it again
        return {
            "device": device,
            "kind": probe.kind.label,
            "flags": list(_shapes(probe.kind, due)),
            "mark": flags.last,
            "unread": unread,
        }

    async def told(call: Call, asked: params.TapeTold) -> bool:
        probe, device = await _found(port, alerts, asked.device)
        flags, asker = probe.book.of(device), _asker(call, asked.asker)
        is_news = bool(flags.due(asker))
        flags.tell(asker, asked.mark)
        if is_news:
            await keep()
        return True

    return {"tape.alert": alert, "tape.told": told}


def _asker(call: Call, name: str | None) -> str:
    return call.caller.name if name is None else f"{call.caller.name}/{name}"


async def _found(port: Port, alerts: TapeAlerts, name: str) -> tuple[TapeAlertsProbe, str]:
    """Return the probe of a device, and its identity.

    Raises:
        NotFound, Unavailable: there is none of that name, or nobody can tell.
    """
    try:
        for probe in alerts.probes:
            device = await probe.device_named(port, name)
            if device is not None:
                return probe, device
    except ProbeError as error:
        raise Unavailable(f"no device can be looked for: {error.reason}") from error
    raise NotFound(f"there is no tape drive or library {name!r} that could be told by its number")


async def _read(collector: Collector, probe: TapeAlertsProbe, device: str) -> str:
    """Have the flags of a device read; return why they could not be, empty where they were."""
    ask = probe.ask(device)
    try:
        async with asyncio.timeout(READ_WITHIN_S):
            for _ in range(MAX_LOOKS):
                if not ask.is_done:
                    await collector.look_at(probe.scope(device))
    except TimeoutError:
        return f"it has not answered within {READ_WITHIN_S:.0f} s"
    except NotFound as error:
        return str(error)  # the probe is disabled
    finally:
        probe.withdraw(ask)
    return ask.failure if ask.is_done else "it is not there any more"


def _shapes(kind: Kind, occurrences: list[Occurrence]) -> Iterator[dict[str, Any]]:
    """Yield every flag once, however often it was set, by its last time."""
    for one in {one.flag: one for one in occurrences}.values():
        flag = kind.meanings[one.flag]
        yield {
            "number": one.flag,
            "name": flag.name,
            "severity": kind.severity(one.flag) or None,
            "advice": flag.advice,
            "timestamp": format_time(one.at),
        }
