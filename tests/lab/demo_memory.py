"""What the daemon of the demonstration remembers of the time before: who usually is here at this
hour, and how a media store has filled. Nobody would wait two weeks for that.
"""

import os
from importlib.metadata import version
from pathlib import Path

from storewatchd.checkpoints import Checkpoints
from storewatchd.clock import Clock
from storewatchd.core.series import SeriesTable
from storewatchd.probes.scst.memory import EXPECTED_AFTER_S, Memory
from storewatchd.probes.scst.model import Identity
from storewatchd.probes.scst.presence import Presence, hour_of
from storewatchd.probes.scst.probe import ScstProbe
from storewatchd.probes.scst.readings import SlowReadings
from storewatchd.probes.vtl.looks import Looks
from storewatchd.probes.vtl.runway import DAY_S, SAMPLE_S
from storewatchd.probes.vtl.stores import VtlStoresProbe

_KNOWN_DAYS = 15
_STORE_DAYS = 2.5
_LASTS_DAYS = 3


async def remember(
    state: Path, *, store: Path, target: str, initiator: str, session: Identity
) -> None:
    """Write into a state directory that an initiator is here day and night, which is not, that a
    session has lasted for hours, and that a store fills up in three days."""
    clock = Clock()
    now, memory = clock.wall(), Memory()
    for at in (now - 2 * EXPECTED_AFTER_S, now):
        memory.take([session], [], at)
    presence = _presence(now, target, initiator)
    scst = ScstProbe(SlowReadings(clock))
    scst.restore({"memory": memory.to_plain(), "presence": presence.to_plain()})
    stores = VtlStoresProbe(Looks(clock), clock)
    stores.restore({str(store): _samples(clock.wall(), store)})
    await Checkpoints(state, SeriesTable(), version("storewatch"), [scst, stores]).write()


def _presence(now: float, target: str, initiator: str) -> Presence:
    presence = Presence()
    peer, place = ("iscsi", target, initiator), ("iscsi", target)
    for number in range(_KNOWN_DAYS * 144):
        at = now - _KNOWN_DAYS * DAY_S + 600 * number
        presence.take({peer: ""}, [place], hour_of(at), at)
    return presence


def _samples(now: float, store: Path) -> list[object]:
    """Return what was used before: so much less as leads to what is used now."""
    sizes, device = os.statvfs(store), os.stat(store).st_dev
    size, used = (
        blocks * sizes.f_frsize for blocks in (sizes.f_blocks, sizes.f_blocks - sizes.f_bfree)
    )
    per_s = sizes.f_bavail * sizes.f_frsize / (_LASTS_DAYS * DAY_S)
    count = int(_STORE_DAYS * DAY_S / SAMPLE_S)
    ages = [number * SAMPLE_S for number in range(count, -1, -1)]
    samples = [[int(now - age), int(used - per_s * age)] for age in ages]
    return [f"{os.major(device)}:{os.minor(device)} {size}", samples]
