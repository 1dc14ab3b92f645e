"""The TapeAlert flags of drives and libraries, as they are known; and the broker of page 2Eh.

Page 12h is read with the other pages of an idle drive. Page 2Eh forgets what it said once: it is
read only where the operator has made us the broker, when somebody asks for the flags, who may be
the program that holds the device. What it says is kept, and told to whoever asks.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from storewatchd.clock import Clock
from storewatchd.core.frames import Family, Frame, News, ObjectKind, Row, Scope
from storewatchd.core.model import EventType
from storewatchd.errors import Malformed, ProbeAbsent, ProbeDeferred, ProbeError
from storewatchd.port import Port
from storewatchd.probes.base import counter, gauge, seen
from storewatchd.probes.tape.alert_book import EVENTS, AlertBook, Flags
from storewatchd.probes.tape.asking import Asker
from storewatchd.probes.tape.changes import attentions
from storewatchd.probes.tape.devices import DeviceProbe, ScsiDevice
from storewatchd.probes.tape.pages import either
from storewatchd.scsi.inquiry import CHANGER, TAPE
from storewatchd.scsi.logs import parse_tapealert
from storewatchd.scsi.tapealert import DRIVE_FLAGS, LIBRARY_FLAGS, Flag, Severity

if TYPE_CHECKING:
    from storewatchd.scsi.sense import Sense

DRIVE_ALERTS = "tape_alerts"
LIBRARY_ALERTS = "library_alerts"

MAX_AGE_S = 24 * 3600.0
"""How long what page 12h said holds while it cannot be read, because the drive is busy."""

LIBRARY_DOOR, LIBRARY_OFFLINE = 16, 21
OF_CARTRIDGES = frozenset({4, 13, 14, 15, 52, 53})
"""The flags of drives that blame the cartridge, and nothing else."""

CLEAN_NOW, CLEAN_PERIODIC = 20, 21

UNREADABLE = (
    "its flags may have been lost, since that answer has cleared them: look at the drive's panel"
)


@dataclass(frozen=True, slots=True)
class Kind:
    """What is different between drives and libraries."""

    probe: str
    device_type: int
    label: str
    prefix: str
    meanings: dict[int, Flag]

    def severity(self, flag: int) -> str:
        """Return how bad a flag is, empty where T10 has not assigned it. T10 takes it for
        information that a library was taken offline; nothing moves in it then, whoever did that."""
        if self.device_type == CHANGER and flag == LIBRARY_OFFLINE:
            return Severity.CRITICAL
        return self.meanings[flag].severity or ""

    @property
    def families(self) -> tuple[Family, ...]:
        own = (
            (
                gauge("library_door_open", "Whether a door is open, by its TapeAlert.", "library"),
                gauge("library_online", "Whether nobody took it offline, by TapeAlert.", "library"),
            )
            if self.device_type == CHANGER
            else (
                gauge("tape_drive_cleaning_required", "Whether a drive must be cleaned.", "drive"),
                gauge(
                    "tape_drive_cleaning_requested", "Whether a drive should be cleaned.", "drive"
                ),
                gauge(
                    "tape_cartridge_tapealert_active",
                    "A TapeAlert flag that is set, and blames the cartridge that is loaded.",
                    *("drive", "barcode", "flag", "name"),
                ),
            )
        )
        return (
            gauge(
                f"{self.prefix}_tapealert_active",
                "A TapeAlert flag that is set.",
                *(self.label, "flag", "name", "severity"),
            ),
            gauge(
                f"{self.prefix}_tapealert_info",
                "What to do about a TapeAlert flag that is set.",
                *(self.label, "flag", "advice"),
            ),
            counter(
                f"{self.prefix}_tapealert_total",
                "How often a TapeAlert flag was seen to become set.",
                *(self.label, "flag"),
            ),
            *own,
        )


DRIVES = Kind(DRIVE_ALERTS, TAPE, "drive", "tape_drive", DRIVE_FLAGS)
LIBRARIES = Kind(LIBRARY_ALERTS, CHANGER, "library", "library", LIBRARY_FLAGS)


@dataclass(slots=True, eq=False)
class Ask:
    """One request to read the flags of a device now. `failure` says why they could not be."""

    device: str
    is_done: bool = False
    failure: str = ""


class TapeAlertsProbe(DeviceProbe):
    """The flags of every drive, or of every library, by a book that others write in too."""

    looks_together = True

    def __init__(
        self, kind: Kind, book: AlertBook, clock: Clock, *, is_broker: bool = False
    ) -> None:
        is_library = kind.device_type == CHANGER
        super().__init__(ObjectKind.TAPE_LIBRARY if is_library else ObjectKind.TAPE_DRIVE)
        self.kind = kind
        self.name = kind.probe
        self.families = kind.families
        self.book = book
        self.is_broker = is_broker
        self._clock = clock
        self._asks: list[Ask] = []

    def to_plain(self) -> object:
        return {"devices": self._devices.to_plain(), "flags": self.book.to_plain()}

    def restore(self, kept: object) -> None:
        if isinstance(kept, dict):
            self._devices.restore(kept.get("devices"))
            self.book.restore(kept.get("flags"))

    def scope(self, device: str) -> Scope:
        """Return the scope of a device."""
        return Scope(self.name, ((self.kind.label, device),))

    async def device_named(self, port: Port, name: str) -> str | None:
        """Return the identity of the device with a serial number, or the name of a node; None
        where there is none."""
        for device in await self._devices.read(port):
            if name == device.identity or device.is_at(name):
                return device.identity
        return None

    def ask(self, device: str) -> Ask:
        """Have the next look read the flags of a device."""
        self._asks.append(Ask(device))
        return self._asks[-1]

    def withdraw(self, ask: Ask) -> None:
        """Take a request back that was not begun."""
        if ask in self._asks:
            self._asks.remove(ask)

    async def collect(self, port: Port, scope: Scope) -> Frame:
        ((_, name),) = scope.labels
        asks = [one for one in self._asks if one.device == name]
        self._asks = [one for one in self._asks if one.device != name]
        failure = ""
        heard: list[Sense] = []
        try:
            device = await self._devices.find_again(port, scope)
            if asks:
                failure, heard = await self._read(port, device)
        except ProbeError as error:
            failure = error.reason
            raise
        finally:
            for one in asks:
                one.is_done, one.failure = True, failure
        news = [*attentions(self.kind.label, name, heard), *self._events(name)]
        flags = self.book.of(name)
        self._check_known(flags, bool(news))
        return seen(scope, self._rows(name, flags), news)

    async def _read(self, port: Port, device: ScsiDevice) -> "tuple[str, list[Sense]]":
        """Read page 2Eh, and note what it says; return why that failed, empty where it did not,
        and the unit attentions that came to us."""
        asker = Asker(port, device.address)
        try:
            page = parse_tapealert(await asker.ask("scsi.tapealert"))
        except ProbeError as error:
            return error.reason, asker.heard
        except Malformed as error:
            return f"{error}; {UNREADABLE}", asker.heard
        at = self._clock.wall() if asker.at is None else asker.at
        self.book.of(device.identity or "").see_read(page, at)
        return "", asker.heard

    def _check_known(self, flags: Flags, has_news: bool) -> None:
        """Raises ProbeAbsent, ProbeDeferred: there is nothing that could be told."""
        if has_news or (flags.seen_at is not None and not flags.has_response_page):
            return  # page 2Eh alone tells: what it said stands until somebody asks again
        if not flags.has_response_page and flags.is_cleaning_required is None:
            if flags.has_response_page is False and not self.is_broker:
                raise ProbeAbsent("it has no page 12h, and page 2Eh is not ours to read")
            raise ProbeDeferred("nobody has seen its flags yet")
        if flags.is_blind:
            raise ProbeDeferred("its pages cannot be read")
        if self._is_outdated(flags) and self._clock.wall() - (flags.seen_at or 0.0) > MAX_AGE_S:
            raise ProbeDeferred("its pages could not be read for a day: somebody holds it")

    def _is_outdated(self, flags: Flags) -> bool:
        """Whether the pages of an idle drive are too old to be believed."""
        return flags.looked_at is None or self._clock.wall() - flags.looked_at > MAX_AGE_S

    def _events(self, name: str) -> Iterator[News]:
        flags = self.book.of(name)
        for occurrence in flags.due(EVENTS):
            meaning = self.kind.meanings[occurrence.flag]
            facts = {
                self.kind.label: name,
                **({"barcode": flags.barcode} if self.kind is DRIVES else {}),
                "number": occurrence.flag,
                "name": meaning.name,
                "severity": self.kind.severity(occurrence.flag),
                "advice": meaning.advice,
            }
            yield News(EventType.TAPE, "tapealert", facts)
        flags.tell(EVENTS, flags.last)

    def _rows(self, name: str, flags: Flags) -> dict[str, list[Row]]:
        rows: dict[str, list[Row]] = {family.name: [] for family in self.families}
        prefix = self.kind.prefix
        for number in sorted(flags.active):
            flag = self.kind.meanings[number]
            active = (name, str(number), flag.name, self.kind.severity(number))
            rows[f"{prefix}_tapealert_active"].append(Row(active, 1.0))
            rows[f"{prefix}_tapealert_info"].append(Row((name, str(number), flag.advice), 1.0))
        for number, count in sorted(flags.raised.items()):
            rows[f"{prefix}_tapealert_total"].append(Row((name, str(number)), float(count)))
        if self.kind is DRIVES:
            rows["tape_cartridge_tapealert_active"] = [
                Row((name, flags.barcode, str(number), self.kind.meanings[number].name), 1.0)
                for number in sorted(flags.of_this_cartridge & OF_CARTRIDGES)
            ]
            self._add_cleaning(rows, name, flags)
        elif flags.seen_at is not None:
            is_open, is_offline = (one in flags.active for one in (LIBRARY_DOOR, LIBRARY_OFFLINE))
            rows["library_door_open"].append(Row((name,), float(is_open)))
            rows["library_online"].append(Row((name,), float(not is_offline)))
        return rows

    def _add_cleaning(self, rows: dict[str, list[Row]], name: str, flags: Flags) -> None:
        is_outdated = flags.is_blind or self._is_outdated(flags)
        for what, claim, flag in (
            ("required", flags.is_cleaning_required, CLEAN_NOW),
            ("requested", flags.is_cleaning_requested, CLEAN_PERIODIC),
        ):
            by_flag = None if flags.seen_at is None else flag in flags.active
            is_so = either((None if is_outdated else claim, by_flag))
            if is_so is not None:
                rows[f"tape_drive_cleaning_{what}"].append(Row((name,), float(is_so)))


@dataclass(frozen=True, slots=True)
class TapeAlerts:
    """Both kinds of device, for who asks for either."""

    drives: TapeAlertsProbe
    libraries: TapeAlertsProbe

    @property
    def probes(self) -> tuple[TapeAlertsProbe, TapeAlertsProbe]:
        return self.drives, self.libraries

    @property
    def is_broker(self) -> bool:
        """Whether page 2Eh is ours to read."""
        return self.drives.is_broker


def make_tape_alerts(clock: Clock, *, is_broker: bool = False) -> TapeAlerts:
    """Return the probes of the flags of drives and libraries, with a book each."""
    return TapeAlerts(
        *(
            TapeAlertsProbe(kind, AlertBook(), clock, is_broker=is_broker)
            for kind in (DRIVES, LIBRARIES)
        )
    )
