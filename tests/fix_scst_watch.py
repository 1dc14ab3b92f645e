"""The rules of SCST on the real engine, over the states of a real SCST."""

import asyncio
import itertools
from typing import Any

from probes.scst.fix_scst import Appliance, attributes, seen
from storewatch_reader.scst import QUEUED
from storewatchd.core.engine import Engine
from storewatchd.core.frames import Frame, Outcome, Row, Scope
from storewatchd.core.incidents import Incidents
from storewatchd.core.model import Alert, AlertState
from storewatchd.core.rules import load
from storewatchd.core.series import SeriesTable
from storewatchd.errors import ProbeAbsent, ProbeError
from storewatchd.probes.block import BLOCK_FAMILIES
from storewatchd.probes.fibrechannel import FAMILIES as PORT_FAMILIES
from storewatchd.rule_files import built_in_files

INTERVAL_S = 30.0
RULES, PROBLEMS = load([file for file in built_in_files() if file.path == "scst.yml"])
BLOCK, PORTS = Scope("block"), Scope("fibrechannel")

# Everything works; of the devices one was made inactive on purpose, which is put right here.
HEALTHY = "run2/01-multi-initiator-sessions"
ACTIVE: dict[str, bytes | int] = {
    "devices/inact/active": b"1\n",
    "devices/inact/size": b"16777216\n[key]\n",
}

ACL = "iqn.2026-11.lab.example:acl"


class Watch:
    """The rules over what the probes of SCST say of an appliance."""

    def __init__(self, name: str = HEALTHY, *, max_age_s: float = 5 * INTERVAL_S) -> None:
        self.appliance = Appliance(name)
        self.table = SeriesTable()
        for probe in self.appliance.probes.values():
            self.table.declare(probe.name, probe.families, max_age_s=max_age_s)
        self.table.declare(BLOCK.probe, BLOCK_FAMILIES, max_age_s=max_age_s)
        self.table.declare(PORTS.probe, PORT_FAMILIES, max_age_s=max_age_s)
        ids = itertools.count()
        self.incidents = Incidents("node", lambda _: f"id-{next(ids)}")
        self.engine = Engine(self.table, self.incidents, RULES)
        self.files: dict[str, dict[str, Any]] = {}
        self.disks: dict[str, list[Row]] = {}
        self.ports: dict[str, bool] | None = {}  # whether each is online; None: cannot be seen
        self.absent: set[Scope] = set()
        self.be(name)

    def be(self, name: str = HEALTHY, **changes: bytes | int) -> None:
        """Be in another state. What is behind each device is there, unless `files` says other."""
        self.appliance.be(name, **(ACTIVE if name == HEALTHY else {}), **changes)
        sizes = {one.name: one.size_bytes for one in seen(name).devices}
        for path, filename in attributes(name, QUEUED).items():
            if path.endswith("/filename") and isinstance(filename, bytes):
                size = sizes[path.split("/")[1]]
                place = filename.decode().split("\n", 1)[0]
                facts = {"exists": True, "kind": "file", "size": size}
                self.appliance.readings["file.size", place] = self.files.get(place, facts)

    def look(self, seconds: float = INTERVAL_S) -> list[str]:
        """Let time pass, look at everything, judge, and return what fires."""
        self.appliance.clock.forward(seconds)
        now = self.appliance.clock.now()
        for probe in self.appliance.probes.values():
            try:
                scopes = self.appliance.scopes(probe.name)
            except ProbeError:
                continue
            self.table.expect(probe.name, scopes)
            for scope in scopes:
                self.table.feed(self._frame(scope, now.wall))
        self.table.feed(Frame(BLOCK, now.wall, rows=self.disks))
        if self.ports is None:
            self.table.feed(Frame(PORTS, now.wall, Outcome.FAILED, reason="it hangs"))
        else:
            states = [Row((port, "online"), float(is_up)) for port, is_up in self.ports.items()]
            self.table.feed(Frame(PORTS, now.wall, rows={"fc_host_port_state": states}))
        self.engine.evaluate(now, frozenset(self.table.names()))
        return self.firing()

    def _frame(self, scope: Scope, at: float) -> Frame:
        probe = self.appliance.probes[scope.probe]
        try:
            found = asyncio.run(probe.collect(self.appliance, scope))
        except ProbeAbsent as error:
            # As the collector takes it: what was there before has failed.
            was_seen = scope not in self.absent
            outcome = Outcome.FAILED if was_seen else Outcome.ABSENT
            return Frame(scope, at, outcome, reason=str(error))
        except ProbeError as error:
            return Frame(scope, at, Outcome.FAILED, reason=str(error))
        return Frame(scope, at, rows=found.rows)

    def looks(self, count: int) -> list[list[str]]:
        return [self.look() for _ in range(count)]

    def open(self) -> list[Alert]:
        return sorted((one.alert for one in self.incidents), key=lambda alert: alert.rule)

    def firing(self) -> list[str]:
        return [alert.rule for alert in self.open() if alert.state is AlertState.FIRING]

    def alert(self, rule: str) -> Alert:
        """Return the one alert of a rule that fires."""
        (found,) = [
            one for one in self.open() if (one.rule, one.state) == (rule, AlertState.FIRING)
        ]
        return found
