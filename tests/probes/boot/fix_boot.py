"""Machines before their next start."""

from typing import Any

from fakes import ScriptedPort
from storewatchd.probes.boot.checks import Facts

RUNNING, NEXT = "6.1.0-9-amd64", "6.1.0-56-amd64"


def facts(
    *,
    installed: list[str] | None = None,
    grub_default: str | None = "0",
    loaded: list[str] | None = None,
    next_has: list[str] | None = None,
    kernels: dict[str, list[str] | None] | None = None,
    enabled: list[str] | None = None,
    masked: list[str] | None = None,
    scripts: list[str] | None = None,
    has_mhvtl: bool = False,
    config: str | None = None,
    fstab: list[dict[str, Any]] | None = None,
) -> Facts:
    """Return what is known of a machine that runs one kernel and will start another."""
    if kernels is None:
        kernels = {RUNNING: loaded or [], NEXT: next_has or []}
    return Facts(
        kernels={
            "running": RUNNING,
            "installed": [NEXT, RUNNING] if installed is None else installed,
            "link": NEXT,
            "grub_default": grub_default,
            "grub_entries": {},
        },
        modules={"kernels": kernels, "loaded": loaded or [], "has_mhvtl_config": has_mhvtl},
        units={"enabled": enabled or [], "masked": masked or [], "scripts": scripts or []},
        fstab={"exists": fstab is not None, "entries": fstab or []},
        scst={"exists": config is not None, "text": config or ""},
    )


def tell(port: ScriptedPort, known: Facts) -> None:
    """Let the reader tell this."""
    for row in ("kernels", "modules", "units", "fstab", "scst"):
        port.readings[f"boot.{row}", ""] = getattr(known, row)
