"""The probes of the next start: what it is made of, and whether SCST's configuration is saved.

They are two: while SCST hangs, the first still knows what it knows.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from storewatchd.clock import Clock
from storewatchd.core.frames import Frame, Row, Scope
from storewatchd.errors import Malformed, ProbeError, ProbeFailed, ReadRefused
from storewatchd.interpreter import aside
from storewatchd.port import Port
from storewatchd.probes.base import check_permitted, gauge, seen
from storewatchd.probes.boot.checks import Facts, State, judged, needed, next_kernel
from storewatchd.probes.scst.drift import KINDS, Drift, drifts
from storewatchd.probes.scst.model import Scst
from storewatchd.probes.scst.readings import CHEAP_ROW, STEADY_ROW, SlowReadings, check_readable
from storewatchd.probes.scst.saved import Saved, parse_saved
from storewatchd.probes.scst.tree import Attributes, parse_tree

NEXT_BOOT = "next_boot"
SCST_CONFIG = "scst_config"

AGAIN_AFTER_S = 300.0
"""How often it is looked at anew; in between, what was seen then."""

SOONER_AFTER_S = 60.0
"""How soon, where not all is well: somebody may be putting it right."""

NO_START = frozenset(("poweroff", "halt"))
"""How a machine may end that does not start by itself then."""

MOST_DRIFTS = 20
"""How many differences are told by name."""

NEXT_BOOT_FAMILIES = (
    gauge("node_next_boot_ready", "Whether the next start will find what it needs.", "check"),
    gauge(
        "node_next_boot_check_info",
        "Every check of the next start, also of what is not known.",
        *("check", "state", "about"),
    ),
    gauge(
        "node_next_boot_problem_info",
        "What is wrong with the next start, and what to do.",
        *("check", "problem", "advice"),
    ),
    gauge(
        "node_next_boot_module_info",
        "A module that the next start needs, as its file describes itself.",
        *("kernel", "module", "vermagic", "signed"),
    ),
    gauge(
        "node_next_boot_checked_timestamp_seconds",
        "When what these checks rest on was read.",
        unit="seconds",
    ),
    gauge("node_reboot_scheduled", "Whether somebody has told systemd to end and start again."),
    gauge(
        "node_reboot_scheduled_timestamp_seconds",
        "When that will be; nothing where it is not planned.",
        unit="seconds",
    ),
    gauge("reboot_required", "Whether packages ask for a start (/run/reboot-required)."),
)
SCST_CONFIG_FAMILIES = (
    gauge(
        "scst_config_drift",
        "Differences between what SCST does and what scst.conf says.",
        "kind",
    ),
    gauge(
        "scst_config_drift_info",
        "What the next start would change of SCST: not all, where it is a lot.",
        *("kind", "name", "change"),
    ),
    gauge(
        "scst_config_checked_timestamp_seconds",
        "When what SCST does was compared with what scst.conf says.",
        unit="seconds",
    ),
)

Rows = dict[str, list[Row]]


class NextBootProbe:
    """Kernel, modules, units, fstab, crypttab, scst.conf and what backup programs are told. Whether
    a start is planned is looked at each time: minutes may be all that is left."""

    name = NEXT_BOOT
    families = NEXT_BOOT_FAMILIES

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rows: Rows = {}
        self._due = float("-inf")
        self._files: dict[str, tuple[str, dict[str, Any]]] = {}  # by object, with its mark

    async def discover(self, port: Port) -> tuple[Scope, ...]:
        return (Scope(self.name),)

    async def collect(self, port: Port, scope: Scope) -> Frame:
        now = self._clock.monotonic()
        if now >= self._due:
            at = self._clock.wall()
            rows, is_well = _next_boot_rows(await self._facts(port))
            self._rows = {**rows, "node_next_boot_checked_timestamp_seconds": [Row((), at)]}
            self._due = now + (AGAIN_AFTER_S if is_well else SOONER_AFTER_S)
        planned = (await port.read("boot.reboot")).value
        return seen(scope, {**self._rows, **_reboot_rows(planned)})

    async def _facts(self, port: Port) -> Facts:
        kernels = (await port.read("boot.kernels")).value
        modules = (await port.read("boot.modules")).value
        scst = (await port.read("boot.scst")).value
        has_mhvtl = modules["has_mhvtl_config"] or "mhvtl" in modules["loaded"]
        return Facts(
            kernels=kernels,
            modules=modules,
            units=(await port.read("boot.units")).value,
            fstab=(await port.read("boot.fstab")).value,
            scst=scst,
            crypttab=await _readable(port, "boot.crypttab"),
            tape_names=await _readable(port, "boot.tape_names"),
            security=await _readable(port, "boot.security"),
            vtl_config=await _readable(port, "vtl.config") if has_mhvtl else {},
            vtl_daemons=await _readable(port, "vtl.daemons") if has_mhvtl else {"daemons": []},
            files=await self._modules(port, next_kernel(kernels)[0], modules, scst),
        )

    async def _modules(
        self, port: Port, version: str, modules: Mapping[str, Any], scst: Mapping[str, Any]
    ) -> dict[str, dict[str, Any]]:
        """Return what the modules that are needed say of themselves; a file is read once,
        where it can be."""
        marks = modules["files"].get(version, {})
        kept: dict[str, tuple[str, dict[str, Any]]] = {}
        found = {}
        for name in needed(modules, scst):
            if name not in marks:
                continue
            about = f"{version}/{name}"
            mark, file = self._files.get(about, ("", {}))
            if mark != marks[name]:
                try:
                    file = (await port.read("boot.module", about)).value
                except ProbeError:
                    continue  # what it was built for is unknown, and so it is told
            if file["exists"] and file["vermagic"] is not None:
                kept[about] = marks[name], file
            found[name] = file
        self._files = kept
        return found


async def _readable(port: Port, row: str) -> Any:
    """Return what a row tells, or why the kernel does not let it: that leaves open one check, and
    not all."""
    try:
        value = (await port.read(row)).value
        check_permitted(value if row == "boot.security" else {})
    except ReadRefused as error:
        return f"it cannot be read: {error}"
    return value


def _reboot_rows(planned: Mapping[str, Any]) -> Rows:
    at = None if planned["mode"] in NO_START else planned["at"]
    return {
        "node_reboot_scheduled": [Row((), float(at is not None))],
        "node_reboot_scheduled_timestamp_seconds": [] if at is None else [Row((), at)],
        "reboot_required": [Row((), float(planned["is_required"]))],
    }


def _next_boot_rows(facts: Facts) -> tuple[Rows, bool]:
    checks = judged(facts)
    version, _ = next_kernel(facts.kernels)
    rows: Rows = {
        "node_next_boot_ready": [
            Row((one.name,), float(one.state is State.OK))
            for one in checks
            if one.state is not State.UNKNOWN
        ],
        "node_next_boot_check_info": [
            Row((one.name, one.state.value, one.about), 1.0) for one in checks
        ],
        "node_next_boot_problem_info": [
            Row((one.name, one.about, one.advice), 1.0)
            for one in checks
            if one.state is State.PROBLEM
        ],
        "node_next_boot_module_info": [
            Row((version, name, file["vermagic"] or "", _claim(file["is_signed"])), 1.0)
            for name, file in facts.files.items()
            if file["exists"]
        ],
    }
    return rows, all(one.state is State.OK for one in checks)


def _claim(claim: bool | None) -> str:
    return "" if claim is None else str(claim).lower()


class ScstConfigProbe:
    """What SCST does, beside what scst.conf says. Where there is no SCST, there is nothing to say;
    where there is no scst.conf, all that it does would vanish."""

    name = SCST_CONFIG
    families = SCST_CONFIG_FAMILIES

    def __init__(self, readings: SlowReadings, clock: Clock) -> None:
        self._readings = readings
        self._clock = clock
        self._rows: Rows = {}
        self._due = float("-inf")

    async def discover(self, port: Port) -> tuple[Scope, ...]:
        return (Scope(self.name),)

    async def collect(self, port: Port, scope: Scope) -> Frame:
        now = self._clock.monotonic()
        if now >= self._due:
            at = self._clock.wall()
            rows = await self._compared(port)
            self._rows = {**rows, "scst_config_checked_timestamp_seconds": [Row((), at)]}
            differs = bool(self._rows["scst_config_drift_info"])
            self._due = now + (SOONER_AFTER_S if differs else AGAIN_AFTER_S)
        return seen(scope, self._rows)

    async def _compared(self, port: Port) -> Rows:
        cheap = (await port.read(CHEAP_ROW)).value
        check_readable(cheap)
        # Anew, and not what others know: what was just saved is no difference for minutes.
        steady = (await port.read(STEADY_ROW)).value
        check_readable(steady)
        rarely = await self._readings.refresh(port)
        facts = (await port.read("boot.scst")).value
        try:
            saved = parse_saved(facts["text"]) if facts["exists"] else Saved()
        except Malformed as error:
            raise ProbeFailed(f"what is saved cannot be understood: {error}") from error
        found = await aside(_drifts, {**steady, **cheap}, rarely, saved)
        counts = Counter(one.kind for one in found)
        return {
            "scst_config_drift": [Row((kind,), float(counts[kind])) for kind in KINDS],
            "scst_config_drift_info": [
                Row((one.kind, one.name, one.change.value), 1.0) for one in found[:MOST_DRIFTS]
            ],
        }


def _drifts(attributes: Attributes, rarely: Scst, saved: Saved) -> list[Drift]:
    # A large tree takes longer to parse than the loop may stand still.
    return drifts(parse_tree(attributes), rarely, saved)
