"""What SIGHUP does: settings and rules are read anew; where anything is wrong nothing is taken.

Of the settings those of `TAKEN_AT_ONCE` come into force. Every other one that differs from what is
in force is named in the log, at each reload until the next start.
"""

import asyncio
import dataclasses
import logging
from collections.abc import Iterator
from typing import Any

from storewatchd.collector import Collector
from storewatchd.core.commands import ReplaceRules
from storewatchd.core.rules import RuleSet, doubtful
from storewatchd.core.series import SeriesTable
from storewatchd.errors import RuleError, StorewatchError
from storewatchd.monitor import Monitor
from storewatchd.probes import check_names, family_names
from storewatchd.probes.base import STALE_AFTER_INTERVALS
from storewatchd.rule_files import read_rules
from storewatchd.settings import Settings, Source
from storewatchd.systemd import LogQueue, Notifier

logger = logging.getLogger(__name__)

TAKEN_AT_ONCE = frozenset(
    {"daemon.log_level", "probes.interval", "storage.repositories", "rules.directories"}
    | {"rules.interval", "rules.built_in"}
)
"""The settings that a reload puts in force; every other one waits for the next start."""


def load_settings(source: Source) -> Settings:
    """Return the settings as they are written now, right in every respect.

    Raises:
        ConfigError: something in them is wrong.
    """
    settings = source.load()
    check_names(settings.probes.disabled, source.name)
    return settings


def doubts_of(rules: RuleSet, table: SeriesTable) -> list[RuleError]:
    """Return a warning for each metric that a rule names, and that nothing here ever tells."""
    return doubtful(rules, family_names().union(table.names()))


class Reloader:
    """The settings in force, and how others come into force."""

    def __init__(
        self,
        source: Source,
        settings: Settings,
        *,
        notifier: Notifier,
        logs: LogQueue,
        monitor: Monitor,
        collector: Collector,
    ) -> None:
        self.settings = settings
        """The settings in force, swapped whole, at one point."""
        self.last_succeeded = True
        self._source = source
        self._notifier = notifier
        self._logs = logs
        self._monitor = monitor
        self._collector = collector

    def read_rules(self) -> tuple[RuleSet, list[RuleError]]:
        """Return the rules as their files say now, and every problem."""
        return read_rules(self.settings.rules, self._monitor.books.table.probe_families())

    async def run(self, requests: asyncio.Event) -> None:
        """Reload each time the event is set, until cancelled."""
        while True:
            await requests.wait()
            requests.clear()
            self._notifier.reloading()
            await self._reload()
            self._notifier.ready()

    async def _reload(self) -> None:
        try:
            settings = await asyncio.to_thread(load_settings, self._source)
            taken = self._monitor.books.table.probe_families()
            rules, problems = await asyncio.to_thread(read_rules, settings.rules, taken)
        except StorewatchError as error:
            self._refuse([error])
            return
        if problems:
            self._refuse(problems)
            return
        for key in changed_keys(self.settings, settings):
            if key not in TAKEN_AT_ONCE:
                logger.warning("%s has changed and takes effect at the next start", key)
        for doubt in doubts_of(rules, self._monitor.books.table):
            logger.warning("%s", doubt)
        self.settings = settings = in_force(self.settings, settings)
        self.last_succeeded = True
        self._logs.set_level(settings.daemon.log_level)
        self._collector.set_interval(settings.probes.interval)
        max_age_s = STALE_AFTER_INTERVALS * settings.probes.interval
        self._monitor.books.table.set_max_age(max_age_s)
        self._monitor.books.repositories.declare(settings.storage.named_paths())
        await self._monitor.command(ReplaceRules("SIGHUP", rules))
        self._collector.trigger_all()
        logger.info("reloaded: %d rules", len(rules))

    def _refuse(self, problems: list[Any]) -> None:
        self.last_succeeded = False
        for problem in problems:
            logger.error("nothing was reloaded, the old settings stay in force: %s", problem)


def in_force(before: Settings, after: Settings) -> Settings:
    """Return what holds after a reload: the settings of before, with those taken at once."""
    sections: dict[str, Any] = {}
    for section in dataclasses.fields(Settings):
        old, new = getattr(before, section.name), getattr(after, section.name)
        taken = {
            one.name: getattr(new, one.name)
            for one in dataclasses.fields(old)
            if f"{section.name}.{one.name}" in TAKEN_AT_ONCE
        }
        sections[section.name] = dataclasses.replace(old, **taken)
    return Settings(**sections)


def changed_keys(before: Settings, after: Settings) -> Iterator[str]:
    """Yield the settings that differ, as the file names them."""
    for section in dataclasses.fields(Settings):
        old, new = getattr(before, section.name), getattr(after, section.name)
        for one in dataclasses.fields(old):
            if getattr(old, one.name) != getattr(new, one.name):
                yield f"{section.name}.{one.name}"
