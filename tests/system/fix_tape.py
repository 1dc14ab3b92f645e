"""A daemon and a reader over the emulated library, and what they are asked."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.tape.library import EmulatedLibrary
from system.appliance import Appliance, wait_for

INTERVAL_S = 1.0


def watch(
    appliance: Appliance,
    library: EmulatedLibrary,
    *options: str,
    settings: str = "",
    interval_s: float = INTERVAL_S,
) -> None:
    """Start both, with further options of the reader and settings of the daemon, and wait until
    the library was looked at."""
    start(
        appliance,
        *options,
        env=library.env,
        sysfs=library.sysfs,
        dev=library.dev,
        settings=settings,
        interval_s=interval_s,
    )


def start(
    appliance: Appliance,
    *options: str,
    env: Mapping[str, str],
    sysfs: Path,
    dev: Path,
    settings: str = "",
    interval_s: float = INTERVAL_S,
) -> None:
    """Start both over the roots of a laboratory, and wait until the library was looked at."""
    appliance.configure(interval_s=interval_s, more=f'[database]\nkind = "none"\n{settings}')
    tools = [
        word
        for name in ("LD_PRELOAD", "SGSHIM_MAP", "SGSHIM_EAT_UA")
        if name in env
        for word in ("--tool-env", f"{name}={env[name]}")
    ]
    appliance.start_reader("--sysfs", str(sysfs), "--dev", str(dev), *tools, *options)
    appliance.start()
    wait_for("the inventory", lambda: rows(appliance, "library_elements"))


def rows(appliance: Appliance, expr: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = appliance.call("metrics.query", expr=expr)["rows"]
    return found


def value(appliance: Appliance, expr: str) -> float | None:
    """Return the value of an expression that is known and has one row; else None."""
    found = [one for one in rows(appliance, expr) if one["state"] == "exact"]
    return float(found[0]["value"]) if len(found) == 1 else None


def events(appliance: Appliance) -> list[tuple[str, dict[str, Any]]]:
    """Return what was told of tapes so far, oldest first."""
    told = appliance.call("events.list", types=["tape"], limit=1000)["events"]
    return [(one["kind"], one["data"]) for one in told]


def outcomes(appliance: Appliance, probe: str) -> set[str]:
    return {one["outcome"] for one in appliance.call("probes.list", probe=probe)["probes"]}


def wait_looks(appliance: Appliance, probe: str, count: int = 2) -> None:
    """Wait until every scope of a probe was looked at so often from now on."""
    seen: dict[str, set[str]] = {}

    def looked() -> bool:
        for one in appliance.call("probes.list", probe=probe)["probes"]:
            seen.setdefault(str(one["scope"]), set()).add(one["last_run"])
        return bool(seen) and all(len(runs) > count for runs in seen.values())

    wait_for("looks", looked, within_s=30)
