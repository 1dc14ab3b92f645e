"""One module a source; the tuple below is the whole of what is looked at."""

from storewatchd.core.repositories import RepositoryBook
from storewatchd.probes.base import Probe
from storewatchd.probes.block import BlockProbe, ProcessesProbe, SensorsProbe
from storewatchd.probes.storage import FileSystemsProbe, RepositoriesProbe
from storewatchd.probes.system import SystemProbe
from storewatchd.settings import Settings


def make_probes(repositories: RepositoryBook, settings: Settings) -> tuple[Probe, ...]:
    """Return the probes that the settings leave enabled."""
    probes: tuple[Probe, ...] = (
        SystemProbe(),
        FileSystemsProbe(),
        RepositoriesProbe(repositories, discovers=settings.storage.discover),
        BlockProbe(),
        SensorsProbe(),
        ProcessesProbe(),
    )
    return tuple(probe for probe in probes if probe.name not in settings.probes.disabled)
