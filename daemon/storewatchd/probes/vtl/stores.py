"""Media stores of virtual tape libraries: how full they are, how long they last, and with what."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from storewatchd.clock import Clock
from storewatchd.core.frames import Frame, News, Row, Scope
from storewatchd.errors import ProbeError, ProbeFailed
from storewatchd.port import Port
from storewatchd.probes.base import gauge, seen
from storewatchd.probes.vtl.changes import media_changes
from storewatchd.probes.vtl.looks import Looks
from storewatchd.probes.vtl.runway import KEEP_S, SAMPLE_S, Growth, Sample, growth, runway_s

MEDIA_AGAIN_AFTER_S = 3600.0
"""How often the files of all media are looked at."""

MEDIA_SOONER_AFTER_S = 300.0
"""How soon, where they could not be."""

SAME_SIZE_RATIO = 0.01
"""How much larger or smaller a file system may be than at the last look without being another: ZFS
and the like count as its size what is left in a pool that others use up too."""

MOST_CARTRIDGES = 1000
"""How many cartridges of a store are told one by one: those that take the most."""

STORE_FAMILIES = (
    gauge(
        "vtl_store_size_bytes", "Size of the file system of a media store.", "store", unit="bytes"
    ),
    gauge("vtl_store_free_bytes", "What is available in it.", "store", unit="bytes"),
    gauge(
        "vtl_store_growth_bytes_per_day",
        "How much more is used from day to day; the quantiles 0.1 and 0.9 bound 80 % of it.",
        *("store", "quantile"),
        unit="bytes",
    ),
    gauge(
        "vtl_store_runway_seconds",
        "How long the room lasts at that growth; nothing where it does not grow.",
        *("store", "quantile"),
        unit="seconds",
    ),
)
MEDIA_FAMILIES = (
    gauge("vtl_store_media", "Cartridges in a media store.", "store"),
    gauge(
        "vtl_store_capacity_bytes",
        "What the cartridges in a media store could take, where all of them tell.",
        "store",
        unit="bytes",
    ),
    gauge(
        "vtl_media_bytes",
        "What cartridges take, by the library that lists them in its contents.",
        *("store", "library"),
        unit="bytes",
    ),
    gauge("vtl_media_used_bytes", "What a cartridge takes.", "store", "barcode", unit="bytes"),
    gauge("vtl_media_capacity_bytes", "What it could take.", "store", "barcode", unit="bytes"),
)


async def _store_scopes(looks: Looks, port: Port, probe: str) -> tuple[Scope, ...]:
    found = (await looks.take(port)).values()
    stores = dict.fromkeys(store for one in found for store in one.stores)
    return tuple(Scope(probe, (("store", store),)) for store in stores)


class VtlStoresProbe:
    """How full the file systems are that media lie on, and how fast they fill. What was used before
    is remembered over restarts; of another file system it is not."""

    name = "vtl_stores"
    families = STORE_FAMILIES

    def __init__(self, looks: Looks, clock: Clock) -> None:
        self._looks = looks
        self._clock = clock
        self._samples: dict[str, tuple[str, list[Sample]]] = {}  # with the file system's size
        self._growth: dict[str, Growth | None] = {}

    def to_plain(self) -> object:
        return {
            store: [mark, [[int(one.at), int(one.used)] for one in list(samples)]]
            for store, (mark, samples) in self._samples.copy().items()
        }

    def restore(self, kept: object) -> None:
        for store, one in kept.items() if isinstance(kept, dict) else ():
            match one:
                case [str(mark), list(samples)]:
                    found = sorted(_samples(samples))
                    self._samples[str(store)] = mark, found
                    self._growth[str(store)] = growth(found)

    async def discover(self, port: Port) -> tuple[Scope, ...]:
        return await _store_scopes(self._looks, port, self.name)

    async def collect(self, port: Port, scope: Scope) -> Frame:
        ((_, store),) = scope.labels
        facts = (await port.read("statvfs.path", store)).value
        if not facts["exists"]:
            raise ProbeFailed(f"the media store {store} is not there")
        unit = facts["block_bytes"]
        size, free = facts["blocks"] * unit, facts["blocks_available"] * unit
        await self._note(store, f"{facts['device']} {size}", size - facts["blocks_free"] * unit)
        rows = {
            "vtl_store_size_bytes": [Row((store,), float(size))],
            "vtl_store_free_bytes": [Row((store,), float(free))],
            **_runway_rows(store, float(free), self._growth.get(store)),
        }
        return seen(scope, rows)

    async def _note(self, store: str, mark: str, used: int) -> None:
        """Take a sample, where it is time for one; one of a file system that was made larger is
        the first of a new series: nobody knows what was done besides."""
        now = self._clock.wall()
        known, samples = self._samples.get(store, (mark, []))
        is_same = _is_same(known, mark)
        # One of the future is from before the clock was set.
        kept = [one for one in samples if is_same and now - KEEP_S <= one.at <= now]
        if not kept or now - kept[-1].at >= SAMPLE_S:
            kept.append(Sample(now, float(used)))
            self._growth[store] = await asyncio.to_thread(growth, kept)
        self._samples[store] = mark, kept


def _is_same(before: str, now: str) -> bool:
    """Whether two marks are those of one file system."""
    (device, size), (device_now, size_now) = _marked(before), _marked(now)
    return device == device_now and abs(size_now - size) <= SAME_SIZE_RATIO * size


def _marked(mark: str) -> tuple[str, int]:
    device, _, size = mark.rpartition(" ")
    # One without a disk of its own (major 0) has another minor number after each start.
    major = device.partition(":")[0]
    return "0" if major == "0" else device, int(size) if size.isdecimal() else 0


def _samples(kept: Iterable[object]) -> Iterable[Sample]:
    for one in kept:
        match one:
            case [int(at), int(used)]:
                yield Sample(float(at), float(used))


def _runway_rows(store: str, free: float, found: Growth | None) -> dict[str, list[Row]]:
    growths: list[Row] = []
    runways: list[Row] = []
    if found is not None:
        # The more it grows, the sooner it is full.
        for quantile, grows, fills in (
            ("0.1", found.low, found.high),
            ("0.5", found.middle, found.middle),
            ("0.9", found.high, found.low),
        ):
            growths.append(Row((store, quantile), grows))
            lasts = runway_s(free, fills)
            if lasts is not None:
                runways.append(Row((store, quantile), lasts))
    return {"vtl_store_growth_bytes_per_day": growths, "vtl_store_runway_seconds": runways}


class VtlMediaProbe:
    """What media take, looked at every hour; in between, what was found then."""

    name = "vtl_media"
    families = MEDIA_FAMILIES

    def __init__(self, looks: Looks, clock: Clock) -> None:
        self._looks = looks
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()
        self._due = float("-inf")
        self._last: dict[str, Any] | ProbeError = {}
        self._before: dict[str, list[str]] = {}  # the cartridges in each store

    def to_plain(self) -> object:
        return self._before.copy()

    def restore(self, kept: object) -> None:
        for store, names in kept.items() if isinstance(kept, dict) else ():
            if isinstance(names, list):
                self._before[str(store)] = [one for one in names if isinstance(one, str)]

    async def discover(self, port: Port) -> tuple[Scope, ...]:
        return await _store_scopes(self._looks, port, self.name)

    async def collect(self, port: Port, scope: Scope) -> Frame:
        ((_, store),) = scope.labels
        facts = (await self._stores(port)).get(store)
        if facts is None or not facts["exists"]:
            raise ProbeFailed(f"the media store {store} is not there")
        if not facts["is_whole"]:
            raise ProbeFailed(f"{store} has more files than are counted")
        cartridges = facts["cartridges"]
        libraries = {
            unit.number: unit.library
            for unit in await self._looks.units(port)
            if not unit.drive and unit.backend == "mhvtl"
        }
        return seen(scope, media_rows(store, cartridges, libraries), self._news(store, cartridges))

    def _news(self, store: str, cartridges: list[list[Any]]) -> list[News]:
        names = [one[0] for one in cartridges]
        before = self._before.get(store)
        self._before[store] = names
        return [] if before is None else [*media_changes(store, before, names)]

    async def _stores(self, port: Port) -> dict[str, Any]:
        async with self._one_at_a_time:
            now = self._clock.monotonic()
            if now >= self._due:
                self._due = now + MEDIA_AGAIN_AFTER_S
                try:
                    self._last = (await port.read("vtl.media")).value["stores"]
                except ProbeError as error:
                    self._last = error
                    self._due = now + MEDIA_SOONER_AFTER_S
        if isinstance(self._last, ProbeError):
            raise self._last
        return self._last


def media_rows(
    store: str, cartridges: list[list[Any]], libraries: dict[str, str]
) -> dict[str, list[Row]]:
    """Return the rows of a store: of each cartridge its name, what it takes and could take, in
    bytes, and the number of its library."""
    rows: dict[str, list[Row]] = {family.name: [] for family in MEDIA_FAMILIES}
    rows["vtl_store_media"].append(Row((store,), float(len(cartridges))))
    capacities = [capacity for _, _, capacity, _ in cartridges if capacity is not None]
    if len(capacities) == len(cartridges):
        rows["vtl_store_capacity_bytes"].append(Row((store,), float(sum(capacities))))
    taken: dict[str, int] = defaultdict(int)
    for _, used, _, number in cartridges:
        taken["" if number is None else libraries.get(str(number), "")] += used
    rows["vtl_media_bytes"] = [
        Row((store, library), float(used)) for library, used in sorted(taken.items())
    ]
    largest = sorted(cartridges, key=lambda one: (-one[1], one[0]))[:MOST_CARTRIDGES]
    for barcode, used, capacity, _ in largest:
        rows["vtl_media_used_bytes"].append(Row((store, barcode), float(used)))
        if capacity is not None:
            rows["vtl_media_capacity_bytes"].append(Row((store, barcode), float(capacity)))
    return rows
