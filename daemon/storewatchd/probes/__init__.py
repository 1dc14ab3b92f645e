"""One module a source; the tuple below is the whole of what is looked at."""

from collections.abc import Iterable
from dataclasses import dataclass

from storewatchd.clock import Clock
from storewatchd.core.repositories import RepositoryBook
from storewatchd.errors import ConfigError
from storewatchd.probes.base import Probe
from storewatchd.probes.block import BlockProbe, ProcessesProbe, SensorsProbe, ThermalProbe
from storewatchd.probes.boot.probe import NextBootProbe, ScstConfigProbe
from storewatchd.probes.fibrechannel import FibreChannelProbe, FibreChannelStatisticsProbe
from storewatchd.probes.kernel_log import KernelLog, KernelLogProbe
from storewatchd.probes.scst.heard import ScstEvents, make_event_probes
from storewatchd.probes.scst.probe import make_scst_probes
from storewatchd.probes.scst.readings import SlowReadings
from storewatchd.probes.self import DatabaseProbe, Own, SelfProbe
from storewatchd.probes.storage import FileSystemsProbe, RepositoriesProbe, RepositoryStatesProbe
from storewatchd.probes.system import SystemProbe
from storewatchd.probes.tape.alerts import TapeAlerts, make_tape_alerts
from storewatchd.probes.tape.drive_logs import DriveLogsProbe
from storewatchd.probes.tape.drives import DrivesProbe
from storewatchd.probes.tape.libraries import ElementStatesProbe, InventoriesProbe, LibrariesProbe
from storewatchd.probes.tape.reports import Reports
from storewatchd.probes.vtl.probe import make_vtl_probes
from storewatchd.settings import Settings


@dataclass(frozen=True, slots=True)
class Ears:
    """What is heard between looks, and told by probes."""

    events: ScstEvents
    log: KernelLog

    @classmethod
    def deaf(cls, clock: Clock) -> "Ears":
        """Return those of somebody who has heard nothing yet."""
        return cls(ScstEvents(clock), KernelLog(clock))


def check_names(names: Iterable[str], path: str) -> None:
    """Refuse what no probe is called, as a setting of a file.

    Raises:
        ConfigError: there is no such probe.
    """
    known = [probe.name for probe in make_probes(RepositoryBook(), Settings())]
    for name in names:
        if name not in known:
            raise ConfigError(
                path,
                "probes.disabled",
                expected=f"names of probes, of {', '.join(known)}",
                found=repr(name),
            )


def family_names() -> frozenset[str]:
    """Return the metrics of every probe, also of those that are disabled or absent here."""
    probes = make_probes(RepositoryBook(), Settings())
    return frozenset(family.name for probe in probes for family in probe.families)


def make_probes(
    repositories: RepositoryBook,
    settings: Settings,
    own: Own | None = None,
    clock: Clock | None = None,
    alerts: TapeAlerts | None = None,
    ears: Ears | None = None,
) -> tuple[Probe, ...]:
    """Return the probes that the settings leave enabled; `own` is what the daemon says of
    itself, `alerts` what people ask for TapeAlert flags, `ears` what is heard between looks."""
    own = Own() if own is None else own
    clock = clock or Clock()
    alerts = alerts or make_tape_alerts(clock)
    ears = ears or Ears.deaf(clock)
    libraries = Reports()
    scst = SlowReadings(clock)
    probes: tuple[Probe, ...] = (
        SystemProbe(),
        FileSystemsProbe(),
        RepositoriesProbe(repositories, discovers=settings.storage.discover),
        RepositoryStatesProbe(repositories, discovers=settings.storage.discover),
        BlockProbe(),
        SensorsProbe(),
        ThermalProbe(),
        ProcessesProbe(),
        FibreChannelProbe(),
        FibreChannelStatisticsProbe(clock),
        *make_scst_probes(clock, scst),
        *make_event_probes(ears.events),
        KernelLogProbe(ears.log),
        NextBootProbe(clock),
        ScstConfigProbe(scst, clock),
        DrivesProbe(alerts.drives.book, clock),
        DriveLogsProbe(alerts.drives.book),
        *alerts.probes,
        LibrariesProbe(libraries, clock),
        InventoriesProbe(libraries),
        ElementStatesProbe(libraries, clock),
        *make_vtl_probes(clock),
        DatabaseProbe(own),
        SelfProbe(own),
    )
    return tuple(probe for probe in probes if probe.name not in settings.probes.disabled)
