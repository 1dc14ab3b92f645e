"""What every tape drive and the cartridge in it say of themselves, asked while nobody uses it.

A drive that rests is asked one thing at each look: what it does (page 11h). That page says too
whether a TapeAlert flag has changed (TAFC); its flags (page 12h, which reading does not clear; page
2Eh is not read here) are asked where it says so, while one is set, and where it cannot be relied
on: it has no page 11h, or its flags were once seen to change without a word of it. The rest is
asked when these, the kernel's statistics or a unit attention say that something happened, and
otherwise every five minutes. A page that a drive does not list, or refuses, is not asked of it
again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from storewatchd.core.frames import Frame, News, ObjectKind, Scope
from storewatchd.core.model import EventType, parse_time
from storewatchd.errors import Malformed, ProbeFailed
from storewatchd.port import Port
from storewatchd.probes.base import seen
from storewatchd.probes.tape.alert_book import AlertBook, Flags
from storewatchd.probes.tape.asking import MAX_HEARD, Asker
from storewatchd.probes.tape.cartridge_rows import CARTRIDGE_FAMILIES, cartridge_rows
from storewatchd.probes.tape.changes import attentions
from storewatchd.probes.tape.devices import DeviceProbe, ScsiDevice
from storewatchd.probes.tape.drive_rows import DRIVE_FAMILIES, drive_rows
from storewatchd.probes.tape.mounts import Mounts, Sight, is_good
from storewatchd.probes.tape.objects import cartridge_found
from storewatchd.probes.tape.pages import (
    AT_EVERY_LOOK,
    KNOWN_PAGES,
    OF_THE_CARTRIDGE,
    OF_THE_DRIVE,
    Pages,
    decode,
)
from storewatchd.scsi.density import GENERATIONS
from storewatchd.scsi.device_status import DeviceStatus
from storewatchd.scsi.logs import (
    DEVICE_STATUS,
    SUPPORTED_PAGES,
    TAPEALERT_RESPONSE,
    parse_supported_pages,
)
from storewatchd.scsi.mam import Medium, parse_medium
from storewatchd.scsi.sg_tools import Ending

if TYPE_CHECKING:
    from storewatchd.scsi.sense import Sense

READ_ANEW_S = 300.0
"""How old the pages of a drive that rests may be."""

MEDIUM_CHANGED = 0x28  # additional sense code: the medium may have changed

_REFUSED = (Ending.ILLEGAL_REQUEST, Ending.UNSUPPORTED)
# A cartridge without a memory, or with a broken one, which TapeAlert flag 15 tells.
_NO_MEMORY = (*_REFUSED, Ending.MEDIUM_OR_HARDWARE)


@dataclass(slots=True)
class _Drive:
    """What was seen of a drive; `heard` is what it told us and we have not told yet."""

    mounts: Mounts
    pages: Pages = field(default_factory=Pages)
    statistics: Mapping[str, int] = field(default_factory=dict)
    read_at: float | None = None  # all pages
    has_memory: bool = False  # whether that of this cartridge was read, or cannot be
    has_flags: bool = False  # whether what page 12h said last is in `pages`
    tells_of_flags: bool = True  # by page 11h, as far as is known
    heard: "list[Sense]" = field(default_factory=list)


class DriveLogsProbe(DeviceProbe):
    """The log pages of every tape drive, and the memory of the cartridge in it."""

    name = "tape_drive_logs"
    families = (*DRIVE_FAMILIES, *CARTRIDGE_FAMILIES)
    max_age_s = 24 * 3600.0  # a drive that is busy all night is not failed

    def __init__(self, book: AlertBook) -> None:
        self._book = book
        super().__init__(ObjectKind.TAPE_DRIVE)
        self._listed: dict[tuple[str, str, str], set[int]] = {}
        self._drives: dict[Scope, _Drive] = {}

    async def collect(self, port: Port, scope: Scope) -> Frame:
        device = await self._devices.find_again(port, scope)
        name = device.identity or ""
        drive = self._drives.setdefault(scope, _Drive(Mounts(name)))
        asker = Asker(port, device.address)
        flags = self._book.of(name)
        try:
            is_new = await self._look(asker, device, drive, flags)
        except Malformed as error:
            flags.is_blind = True
            raise ProbeFailed(str(error)) from error
        except ProbeFailed:
            flags.is_blind = True
            raise
        finally:
            drive.heard = [*drive.heard, *asker.heard][-MAX_HEARD:]
        news = [*attentions("drive", name, drive.heard)]
        if drive.heard:
            # It may have new firmware, and other pages.
            self._listed.pop(_version(device), None)
            drive.heard.clear()
        pages = drive.pages
        _note(flags, pages, asker.at)
        if pages.is_loaded is not None and asker.at is not None:
            sight = _sight(pages, device, asker.at, flags=flags, is_new=is_new)
            records = drive.mounts.take(sight)
            for record in filter(is_good, records):
                flags.see_good_mount(parse_time(record["from"]) or 0.0)
            news += [News(EventType.TAPE, "mount", facts) for facts in records]
        rows = drive_rows(name, pages) | cartridge_rows(name, pages)
        return seen(scope, rows, news, cartridge_found(name, pages))

    async def _look(self, asker: Asker, device: ScsiDevice, drive: _Drive, flags: Flags) -> bool:
        """Bring up to date what is known of a drive, which stays as it was where that fails;
        return whether another cartridge was loaded.

        Raises:
            Malformed, ProbeError: it cannot be looked at.
        """
        before = drive.pages
        version = _version(device)
        if not self._listed.get(version, set()).intersection(AT_EVERY_LOOK):
            # Not known yet; or it has nothing to ask for at every look, and this shows that it is
            # there.
            self._listed[version] = await _listed(asker)
        listed = self._listed[version]
        first = await _read(asker, device, listed, (DEVICE_STATUS,))
        if not _may_flags_differ(drive, first["status"], flags):
            same = Pages(**first, alerts=before.alerts)
            if not _is_due(drive, same, device, [*drive.heard, *asker.heard], asker.at):
                drive.pages = replace(before, **first)
                return False
        # The drive takes its flags for told from now on, also where this look fails.
        had_flags, drive.has_flags = drive.has_flags, False
        first |= await _read(asker, device, listed, (TAPEALERT_RESPONSE,))
        have_changed = had_flags and before.alerts != first["alerts"]
        if have_changed and first["status"] is not None and not first["status"].has_alert:
            drive.tells_of_flags = False
        if not _is_due(drive, Pages(**first), device, [*drive.heard, *asker.heard], asker.at):
            drive.pages, drive.has_flags = replace(before, **first), True
            return False
        pages = Pages(**first, **await _read(asker, device, listed, OF_THE_DRIVE))
        # Just after an unload they still tell of the cartridge that was there.
        if pages.is_loaded is not False or before.is_loaded:
            pages = replace(pages, **await _read(asker, device, listed, OF_THE_CARTRIDGE))
        is_new = _is_new_load(before, pages, [*drive.heard, *asker.heard])
        medium, has_memory = None, False
        if pages.is_loaded is not False:
            has_memory = drive.has_memory and not is_new
            medium = before.medium
            if not has_memory:
                medium, has_memory = await _memory(asker)
        drive.pages = replace(pages, medium=medium)
        drive.has_memory = has_memory
        drive.has_flags = True
        drive.statistics = _at_rest(device)
        drive.read_at = asker.at
        return is_new


async def _listed(asker: Asker) -> set[int]:
    """Return the pages that a drive has and we know, none where it has no list."""
    raw = await _page(asker, SUPPORTED_PAGES)
    return set() if raw is None else set(KNOWN_PAGES.intersection(parse_supported_pages(raw)))


async def _read(
    asker: Asker, device: ScsiDevice, listed: set[int], pages: Iterable[int]
) -> dict[str, Any]:
    """Return these pages as fields of Pages, None where the drive does not have them; what it
    refuses is taken from its list."""
    found: dict[str, Any] = {}
    for page in pages:
        raw = await _page(asker, page) if page in listed else None
        if raw is None:
            listed.discard(page)
        found |= decode(page, raw, vendor=device.vendor)
    return found


async def _page(asker: Asker, page: int) -> bytes | None:
    """Return a log page, None where the drive refuses it."""
    try:
        return await asker.ask(f"tape.log.{page:02x}")
    except ProbeFailed:
        if asker.ending in _REFUSED:
            return None
        raise


async def _memory(asker: Asker) -> tuple[Medium | None, bool]:
    """Return the memory of the cartridge, and whether there is no need to ask again: while a
    cartridge is being loaded, or cleans the drive, it cannot be read yet."""
    try:
        return parse_medium(await asker.ask("tape.attributes")), True
    except ProbeFailed:
        if asker.ending is Ending.NOT_READY:
            return None, False
        if asker.ending in _NO_MEMORY:
            return None, True
        raise


def _version(device: ScsiDevice) -> tuple[str, str, str]:
    return device.identity or "", device.product, device.revision


def _at_rest(device: ScsiDevice) -> dict[str, int]:
    """Return the statistics that stand still while nobody uses the drive."""
    return {name: count for name, count in device.statistics.items() if name != "in_flight"}


def _is_due(
    drive: _Drive, first: Pages, device: ScsiDevice, heard: "Iterable[Sense]", at: float | None
) -> bool:
    """Return whether everything is to be read: something happened, or it was long ago."""
    if heard or at is None or drive.read_at is None:
        return True
    return (
        not 0 <= at - drive.read_at < READ_ANEW_S
        or drive.statistics != _at_rest(device)
        or drive.pages.alerts != first.alerts
        or _steady(drive.pages.status) != _steady(first.status)
    )


def _may_flags_differ(drive: _Drive, status: DeviceStatus | None, flags: Flags) -> bool:
    """Return whether the flags may be others than those that were read last."""
    if not drive.has_flags or not drive.tells_of_flags or status is None:
        return True
    # While one is set there is no hurry to spare a command: some drives have TAFC say just that.
    return status.has_alert or bool(flags.active)


def _steady(status: DeviceStatus | None) -> DeviceStatus | None:
    # These two bits say that something else is worth asking for, until it was.
    return status and replace(
        status, has_alert=False, has_interface_changed=False, polling_delay_s=None
    )


def _is_new_load(before: Pages, now: Pages, heard: "Iterable[Sense]") -> bool:
    """Return whether the cartridge that is loaded now was not, or was unloaded in between."""
    if now.is_loaded is False:
        return False
    if before.is_loaded is not True or now.is_loaded is None:
        return True
    old, new = before.volume, now.volume
    if old and new and ((old.barcode, old.serial) != (new.barcode, new.serial)):
        return True
    if before.statistics and now.statistics:
        loads = (before.statistics.loads, now.statistics.loads)
        if None not in loads:
            return loads[0] != loads[1]
    if old and new and old.threads != new.threads:
        return True
    return any(one.asc == MEDIUM_CHANGED for one in heard)


def _note(flags: Flags, pages: Pages, at: float | None) -> None:
    """Tell the other probes of the drive what its pages say."""
    is_loaded = pages.is_loaded is not False
    density = pages.medium.density_code if pages.medium and is_loaded else None
    flags.barcode = pages.barcode if is_loaded else ""
    flags.generation = GENERATIONS.get(density, "") if density is not None else ""
    flags.is_cleaning_required, flags.is_cleaning_requested = pages.cleaning
    flags.is_blind, flags.looked_at = False, at
    if pages.alerts is None:
        flags.has_response_page = False
    elif at is not None:
        flags.see_response(pages.alerts, at)


def _sight(pages: Pages, device: ScsiDevice, at: float, *, flags: Flags, is_new: bool) -> Sight:
    errors = {
        f"{kind}_{direction}_errors": count
        for direction, counters in (("write", pages.write_errors), ("read", pages.read_errors))
        if counters is not None
        for kind, count in (
            ("corrected", counters.corrected),
            ("uncorrected", counters.uncorrected),
        )
        if count is not None
    }
    access = pages.access
    return Sight(
        at=at,
        is_loaded=bool(pages.is_loaded),
        is_new=is_new,
        loads=pages.statistics.loads if pages.statistics else None,
        barcode=pages.barcode if pages.is_loaded else "",
        serial=pages.serial if pages.is_loaded else "",
        statistics=device.statistics,
        written_bytes=access.host_written_bytes if access else None,
        read_bytes=access.host_read_bytes if access else None,
        errors=errors,
        flags=pages.alerts.active if pages.alerts else frozenset(),
        told=flags.told_at,
        celsius=pages.temperature.celsius if pages.temperature else None,
    )
