"""Machines before their next start."""

from typing import Any

from fakes import ScriptedPort
from storewatchd.probes.boot.checks import Facts

RUNNING, NEXT = "6.1.0-9-amd64", "6.1.0-56-amd64"
# As modinfo has it of a module that dkms built for Debian's kernel.
RIGHT = {
    "exists": True,
    "vermagic": f"{NEXT} SMP preempt mod_unload modversions",
    "of_kernel": f"{NEXT} SMP preempt mod_unload modversions",
    "is_signed": False,
    "is_weak": False,
}
MHVTL = {
    "exists": True,
    "devices": [
        {"kind": "library", "number": 10},
        {"kind": "drive", "number": 11, "library": 10},
    ],
    "contents": [10],
}


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
    crypttab: list[dict[str, Any]] | None = None,
    initramfs: dict[str, int] | None = None,
    free_bytes: int | None = 1 << 30,
    tape_names: list[str] | None = None,
    security: dict[str, bytes | int] | None = None,
    vtl_config: dict[str, Any] | None = None,
    vtl_daemons: list[dict[str, Any]] | None = None,
    built: dict[str, dict[str, Any]] | None = None,
) -> Facts:
    """Return what is known of a machine that runs one kernel and will start another. `built` is
    what files of modules say other than that they are right."""
    if kernels is None:
        kernels = {RUNNING: loaded or [], NEXT: next_has or []}
    files = dict.fromkeys(kernels.get(NEXT) or [], RIGHT) | {
        name: {**RIGHT, **about} for name, about in (built or {}).items()
    }
    return Facts(
        kernels={
            "running": RUNNING,
            "installed": [NEXT, RUNNING] if installed is None else installed,
            "link": NEXT,
            "grub_default": grub_default,
            "grub_entries": {},
            "initramfs": initramfs or {},
            "free_bytes": free_bytes,
        },
        modules={
            "kernels": kernels,
            "files": {
                version: dict.fromkeys(names or [], "1 2 3") for version, names in kernels.items()
            },
            "loaded": loaded or [],
            "has_mhvtl_config": has_mhvtl,
        },
        units={"enabled": enabled or [], "masked": masked or [], "scripts": scripts or []},
        fstab={"exists": fstab is not None, "entries": fstab or []},
        scst={"exists": config is not None, "text": config or ""},
        crypttab={"exists": crypttab is not None, "entries": crypttab or []},
        tape_names={
            "devices": [
                {"file": "bareos-sd.conf", "directive": "archive device", "path": path}
                for path in tape_names or []
            ]
        },
        security=security or {},
        vtl_config=MHVTL if vtl_config is None else vtl_config,
        vtl_daemons={"daemons": vtl_daemons or []},
        files=files,
    )


def tell(port: ScriptedPort, known: Facts) -> None:
    """Let the reader tell this."""
    for row in ("kernels", "modules", "units", "fstab", "scst", "crypttab", "tape_names"):
        port.readings[f"boot.{row}", ""] = getattr(known, row)
    port.readings["boot.security", ""] = known.security
    port.readings["vtl.config", ""] = known.vtl_config
    port.readings["vtl.daemons", ""] = known.vtl_daemons
    for name, file in known.files.items():
        port.readings["boot.module", f"{NEXT}/{name}"] = file
    plan(port)


def plan(
    port: ScriptedPort,
    *,
    at: float | None = None,
    mode: str = "reboot",
    is_required: bool = False,
) -> None:
    """Let a start be planned, or asked for."""
    port.readings["boot.reboot", ""] = {"at": at, "mode": mode, "is_required": is_required}
