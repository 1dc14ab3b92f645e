"""Judges what the next start is made of: one check a question. Pure.

What is not needed is not checked: a machine without SCST needs none of its modules. What cannot be
known is unknown, and neither a problem nor well.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from storewatchd.errors import Malformed
from storewatchd.probes.scst.drift import unstable
from storewatchd.probes.scst.model import Scst
from storewatchd.probes.scst.saved import Saved, parse_saved

_OF_HANDLER = {
    **dict.fromkeys(("vdisk_fileio", "vdisk_blockio", "vdisk_nullio", "vcdrom"), "scst_vdisk"),
    **dict.fromkeys(("dev_disk", "dev_disk_perf"), "scst_disk"),
    **dict.fromkeys(("dev_tape", "dev_tape_perf"), "scst_tape"),
    "dev_changer": "scst_changer",
}
_OF_DRIVER = {
    "iscsi": "iscsi_scst",
    "scst_local": "scst_local",
    "qla2x00t": "qla2x00tgt",
    "ib_srpt": "ib_srpt",
}
_MOST_NAMES = 5

# The ids and titles that grub-mkconfig gives; an entry of the Boot Loader Specification just ends
# in the version.
_GRUB_NAMES = re.compile(r"gnulinux-(\S+)-(?:advanced|recovery)-|with Linux (\S+)")


class State(StrEnum):
    OK = "ok"
    PROBLEM = "problem"
    UNKNOWN = "unknown"


class Check(NamedTuple):
    """One question: its name, how it stands, what that is about, and what to do."""

    name: str
    state: State
    about: str
    advice: str = ""


@dataclass(frozen=True)
class Facts:
    """What the reader's rows `boot.*` tell."""

    kernels: Mapping[str, Any]
    modules: Mapping[str, Any]
    units: Mapping[str, Any]
    fstab: Mapping[str, Any]
    scst: Mapping[str, Any]


def judged(facts: Facts) -> list[Check]:
    """Return the checks that this machine needs."""
    problem = ""
    saved = None
    if facts.scst["exists"]:
        try:
            saved = parse_saved(facts.scst["text"])
        except Malformed as error:
            problem = str(error)
    needed = _needed(facts, saved)
    checks = [_kernel(facts)] if needed or facts.kernels["installed"] else []
    checks += [_module(facts, name) for name in needed]
    if "scst" in needed:
        checks.append(_unit(facts, "scst", ("scst",), "scst.service"))
    if "mhvtl" in needed:
        checks.append(_unit(facts, "mhvtl", ("mhvtl", "vtllibrary@", "vtltape@"), "mhvtl.target"))
    if problem:
        advice = "Write it anew (`scstadmin -write_config /etc/scst.conf`) while SCST runs."
        checks.append(
            Check("scst_conf", State.PROBLEM, f"it cannot be understood: {problem}", advice)
        )
    elif saved is not None:
        checks += [_saved(saved), _stable_names(saved)]
    if facts.fstab["exists"]:
        checks.append(_fstab(facts))
    return checks


def next_kernel(kernels: Mapping[str, Any]) -> tuple[str, str]:
    """Return which kernel starts next, empty where that is not known, and why."""
    installed = sorted(kernels["installed"], key=_by_version)
    if not installed:
        return "", "no kernel is seen in /boot"
    newest = installed[-1]
    default, entries = kernels["grub_default"], kernels["grub_entries"]
    if default is None:
        if kernels["link"] in installed:
            return kernels["link"], "the link vmlinuz leads to it"
        return newest, "it is the newest that is installed"
    entry = entries.get("next_entry", "")
    if not entry:
        entry = entries.get("saved_entry", "0") if default == "saved" else default
    named = _GRUB_NAMES.search(entry.rpartition(">")[2])
    if named:
        found = [one for one in installed if one in named.groups()]
    else:
        found = [one for one in installed if entry.endswith(f"-{one}")]
    if found:
        return max(found, key=len), "GRUB's entry names it"
    if entry in ("", "0") or "gnulinux-simple-" in entry:
        return newest, "it is the newest that is installed"
    return "", f"GRUB's entry {entry!r} names no kernel that is installed"


def _by_version(version: str) -> list[tuple[int, int, str]]:
    """Return by what versions are ordered: numbers as numbers, and before words."""
    return [
        (0, int(part), "") if part.isdecimal() else (1, 0, part)
        for part in re.findall(r"[0-9]+|[^0-9.+_-]+", version)
    ]


def _kernel(facts: Facts) -> Check:
    version, why = next_kernel(facts.kernels)
    running = facts.kernels["running"] or "not known"
    if version:
        other = f"; {running} runs" if version != running else ""
        return Check("kernel", State.OK, f"{version} is next: {why}{other}")
    advice = "Look which kernel the boot loader starts, and whether it has the modules."
    return Check("kernel", State.UNKNOWN, f"which one is next is not known: {why}", advice)


def _needed(facts: Facts, saved: Saved | None) -> list[str]:
    """Return the modules that are loaded now, or without which a configuration is of no use."""
    needed = list(facts.modules["loaded"])
    if facts.scst["exists"]:
        needed.append("scst")
    if saved is not None:
        handlers = {device.handler for device in saved.devices.values()}
        drivers = {driver for driver, _ in saved.targets}
        needed += [_OF_HANDLER[one] for one in handlers if one in _OF_HANDLER]
        needed += [_OF_DRIVER[one] for one in drivers if one in _OF_DRIVER]
    if facts.modules["has_mhvtl_config"]:
        needed.append("mhvtl")
    return sorted(set(needed))


def _module(facts: Facts, name: str) -> Check:
    check = f"module_{name}"
    version, _ = next_kernel(facts.kernels)
    kernels = facts.modules["kernels"]
    if not version:
        return Check(check, State.UNKNOWN, "which kernel is next is not known")
    if not any(kernels.values()) and facts.modules["loaded"]:
        # They were loaded from somewhere: where the reader looks, they cannot be seen.
        return Check(check, State.UNKNOWN, "the modules of no kernel can be seen")
    has = kernels.get(version)
    if has is not None and name in has:
        return Check(check, State.OK, f"{name} is there for {version}")
    running = facts.kernels["running"]
    advice = (
        f"Build it for {version} before the next start (`dkms autoinstall -k {version}`, or make"
        f" and install it from its sources, then `depmod {version}`)."
    )
    if running and running != version:
        advice += f" Or let {running}, which runs now, be the next one."
    missing = f"{version} has no modules.dep" if has is None else f"{version} has no module {name}"
    return Check(check, State.PROBLEM, missing, advice)


def _unit(facts: Facts, name: str, beginnings: tuple[str, ...], unit: str) -> Check:
    check = f"unit_{name}"
    if unit in facts.units["masked"]:
        about = f"{unit} is masked"
        return Check(check, State.PROBLEM, about, f"`systemctl unmask {unit}`, and enable it.")
    enabled = [one for one in facts.units["enabled"] if one.startswith(beginnings)]
    if enabled or name in facts.units["scripts"]:
        return Check(check, State.OK, f"{_listed(enabled or [name])} starts with the machine")
    about = f"nothing starts {name} with the machine"
    return Check(check, State.PROBLEM, about, f"`systemctl enable {unit}`.")


def _saved(saved: Saved) -> Check:
    counts = f"{len(saved.targets)} targets and {len(saved.devices)} devices"
    return Check("scst_conf", State.OK, f"it has {counts}")


def _stable_names(saved: Saved) -> Check:
    found = unstable(Scst(), saved)
    if not found:
        return Check("stable_names", State.OK, "no device of SCST is at a name that may change")
    return Check(
        "stable_names",
        State.PROBLEM,
        f"the data of {_listed(f'{name} at {path}' for name, path in found.items())}"
        " may be those of another disk after a start",
        "Give SCST names below /dev/disk/by-id, /dev/mapper or of volumes, and save that.",
    )


def _fstab(facts: Facts) -> Check:
    entries = facts.fstab["entries"]
    missing = [one for one in entries if one["is_needed"] and not one["exists"]]
    if not missing:
        return Check("fstab", State.OK, "each device that it needs is there")
    listed = _listed(f"{one['source']} for {one['mount_point']}" for one in missing)
    advice = "The start would stop in emergency mode: correct /etc/fstab, or add nofail."
    return Check("fstab", State.PROBLEM, f"not there: {listed}", advice)


def _listed(names: Iterable[str]) -> str:
    shown = list(names)
    more = f" and {len(shown) - _MOST_NAMES} more" if len(shown) > _MOST_NAMES else ""
    return ", ".join(shown[:_MOST_NAMES]) + more
