"""Judges what the next start is made of: one check a question. Pure.

What is not needed is not checked: a machine without SCST needs none of its modules. What cannot be
known is unknown, and neither a problem nor well.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from storewatchd.errors import Malformed
from storewatchd.probes.scst.drift import unstable
from storewatchd.probes.scst.model import Scst
from storewatchd.probes.scst.modules import needed_modules
from storewatchd.probes.scst.saved import Saved, parse_saved

_MOST_NAMES = 5
_MIB = 1 << 20

# The names of tape devices that the kernel gives in the order in which it finds them.
_UNSTABLE_TAPE = re.compile(r"/dev/(?:n?st\d+[alm]?|sg\d+|sch\d+|changer|tape|nst|st)", re.ASCII)

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
    """What the reader's rows `boot.*` tell, and `vtl.config` and `vtl.daemons`; a text says why one
    cannot be read. `files` is what the modules that are needed say of themselves, those of the
    kernel that is next; one that could not be looked at is left out."""

    kernels: Mapping[str, Any]
    modules: Mapping[str, Any]
    units: Mapping[str, Any]
    fstab: Mapping[str, Any]
    scst: Mapping[str, Any]
    crypttab: Mapping[str, Any] | str
    tape_names: Mapping[str, Any] | str
    security: Mapping[str, bytes | int] | str
    vtl_config: Mapping[str, Any] | str
    vtl_daemons: Mapping[str, Any] | str
    files: Mapping[str, Mapping[str, Any]]


def needed(modules: Mapping[str, Any], scst: Mapping[str, Any]) -> list[str]:
    """Return the modules that are loaded now, or without which a configuration is of no use."""
    saved, _ = _parsed(scst)
    return _needed(modules, scst, saved)


def judged(facts: Facts) -> list[Check]:
    """Return the checks that this machine needs: whatever it is, a kernel."""
    saved, problem = _parsed(facts.scst)
    needed = _needed(facts.modules, facts.scst, saved)
    checks = [_kernel(facts), *_initramfs(facts)]
    checks += [_module(facts, name) for name in needed]
    if "scst" in needed:
        checks.append(_unit(facts, "scst", ("scst",), "scst.service"))
    if "mhvtl" in needed:
        checks.append(_unit(facts, "mhvtl", ("mhvtl", "vtllibrary@", "vtltape@"), "mhvtl.target"))
    checks += _mhvtl_conf(facts)
    if problem:
        advice = "Write it anew (`scstadmin -write_config /etc/scst.conf`) while SCST runs."
        checks.append(
            Check("scst_conf", State.PROBLEM, f"it cannot be understood: {problem}", advice)
        )
    elif saved is not None:
        checks += [_saved(saved), _stable_names(saved)]
    if facts.fstab["exists"]:
        checks.append(_fstab(facts))
    checks += _crypttab(facts.crypttab)
    checks += _tape_names(facts.tape_names)
    return checks


def _parsed(scst: Mapping[str, Any]) -> tuple[Saved | None, str]:
    """Return what is saved of SCST, or why nobody can tell."""
    if not scst["exists"]:
        return None, ""
    try:
        return parse_saved(scst["text"]), ""
    except Malformed as error:
        return None, str(error)


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


def _initramfs(facts: Facts) -> list[Check]:
    """Return how it stands with initial file systems; nothing where no kernel has one."""
    version, _ = next_kernel(facts.kernels)
    sizes, free = facts.kernels["initramfs"], facts.kernels["free_bytes"]
    if not version or not sizes:
        return []
    found = [Check("initramfs", State.OK, f"{version} has one")]
    if not sizes.get(version):
        about = f"{version} has none" if version not in sizes else f"that of {version} is empty"
        advice = f"`update-initramfs -c -k {version}`, or `dracut --force --kver {version}`."
        found = [Check("initramfs", State.PROBLEM, about, advice)]
    largest = max(sizes.values())
    room = f"/boot has room for {(free or 0) / _MIB:.0f} MiB"
    if free is None:
        found.append(Check("boot_space", State.UNKNOWN, "how full /boot is cannot be seen"))
    elif free < largest:
        # A new one is written beside the old one, which it then replaces.
        about = f"{room}, and an initial file system takes {largest / _MIB:.0f} MiB"
        advice = (
            "Remove kernels that nobody starts any more (`apt autoremove --purge`), or the next"
        )
        advice += " one that is built is cut off."
        found.append(Check("boot_space", State.PROBLEM, about, advice))
    else:
        found.append(Check("boot_space", State.OK, room))
    return found


def _needed(modules: Mapping[str, Any], scst: Mapping[str, Any], saved: Saved | None) -> list[str]:
    needed = list(modules["loaded"])
    if scst["exists"]:
        needed.append("scst")
    if saved is not None:
        needed += needed_modules(saved)
    if modules["has_mhvtl_config"]:
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
        return _fitting(facts, name, version)
    running = facts.kernels["running"]
    advice = (
        f"Build it for {version} before the next start (`dkms autoinstall -k {version}`, or make"
        f" and install it from its sources, then `depmod {version}`)."
    )
    if running and running != version:
        advice += f" Or let {running}, which runs now, be the next one."
    missing = f"{version} has no modules.dep" if has is None else f"{version} has no module {name}"
    return Check(check, State.PROBLEM, missing, advice)


def _fitting(facts: Facts, name: str, version: str) -> Check:
    """Judge a module that is there: whether the kernel will take it."""
    check = f"module_{name}"
    if name not in facts.modules["files"].get(version, {}):
        return Check(check, State.OK, f"{version} has {name}")
    file = facts.files.get(name)
    if file is None or not file["exists"] or file["vermagic"] is None:
        about = f"{name} is there for {version}, and what it was built for cannot be read"
        advice = f"Look whether `modinfo -k {version} {name}` names {version} as its vermagic."
        return Check(check, State.UNKNOWN, about, advice)
    rebuild = (
        f"Build it anew for {version} (`dkms install --force -k {version}`, or from its sources)."
    )
    built_for, _, flags = file["vermagic"].partition(" ")
    if built_for != version and not file["is_weak"]:
        about = f"the module {name} of {version} was built for {built_for}"
        if "modversions" not in flags.split():
            return Check(check, State.PROBLEM, f"{about}: the kernel refuses it", rebuild)
        return Check(check, State.UNKNOWN, f"{about}: it may be refused", rebuild)
    wanted = (file["of_kernel"] or "").partition(" ")[2]
    if wanted and wanted != flags:
        about = f"the module {name} was built for {flags!r}, and {version} is {wanted!r}"
        return Check(check, State.PROBLEM, f"{about}: the kernel refuses it", rebuild)
    if isinstance(facts.security, str) and not file["is_signed"]:
        about = (
            f"the module {name} of {version} is not signed, and whether it has to be is not known"
        )
        return Check(check, State.UNKNOWN, f"{about}: {facts.security}")
    why = "" if isinstance(facts.security, str) else _signed_only(facts.security)
    if why and not file["is_signed"]:
        about = f"the module {name} of {version} is not signed, and {why}: the kernel refuses it"
        advice = "Sign it with a key that the firmware knows (`mokutil`; dkms does so by itself"
        advice += " where it has one), or the machine starts without it."
        return Check(check, State.PROBLEM, about, advice)
    return Check(check, State.OK, f"{name} is there for {version}")


def _signed_only(security: Mapping[str, bytes | int]) -> str:
    """Return why the kernel takes only modules that are signed; empty where it takes any, or that
    cannot be known."""
    for path, content in security.items():
        if not isinstance(content, bytes):
            continue
        # UEFI 2.10, 3.3: SecureBoot is 1 byte; efivarfs puts 4 of attributes before it.
        if "/SecureBoot-" in path and content[4:] == b"\1":
            return "Secure Boot is on"
        if path.endswith("/lockdown") and re.search(rb"\[(?:integrity|confidentiality)\]", content):
            return "the kernel is locked down"
        if path.endswith("/sig_enforce") and content.strip() == b"Y":
            return "the kernel was told to insist on it (module.sig_enforce)"
    return ""


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
    advice = "The start would stop in emergency mode: correct /etc/fstab, or add nofail."
    return _devices("fstab", facts.fstab["entries"], "mount_point", advice)


def _crypttab(told: Mapping[str, Any] | str) -> Iterator[Check]:
    if isinstance(told, str):
        yield Check("crypttab", State.UNKNOWN, told)
    elif told["exists"]:
        advice = "The start would wait for them: correct /etc/crypttab, or add nofail."
        yield _devices("crypttab", told["entries"], "name", advice)


def _devices(check: str, entries: Iterable[Mapping[str, Any]], target: str, advice: str) -> Check:
    """Return whether the devices of a table are there; `target` is what names what each is for."""
    missing = [one for one in entries if one["is_needed"] and not one["exists"]]
    if not missing:
        return Check(check, State.OK, "each device that it needs is there")
    listed = _listed(f"{one['source']} for {one[target]}" for one in missing)
    return Check(check, State.PROBLEM, f"not there: {listed}", advice)


def _tape_names(told: Mapping[str, Any] | str) -> Iterator[Check]:
    if isinstance(told, str):
        yield Check("tape_names", State.UNKNOWN, told)
        return
    if not told["devices"]:
        return
    found = [one for one in told["devices"] if _UNSTABLE_TAPE.fullmatch(one["path"])]
    if not found:
        yield Check("tape_names", State.OK, "backup programs know tape devices by lasting names")
        return
    listed = _listed(f"{one['path']} ({one['directive']}, {one['file']})" for one in found)
    about = f"after a start these may be other devices: {listed}"
    advice = "Give the backup program names below /dev/tape/by-id instead."
    yield Check("tape_names", State.PROBLEM, about, advice)


def _is_mhvtls(daemon: Mapping[str, Any]) -> bool:
    return daemon["name"] != "tgtd" and daemon["unit"] is not None


def _mhvtl_conf(facts: Facts) -> Iterator[Check]:
    """Judge mhvtl's configuration, where there is one or it runs: whether what runs would be there
    again."""
    told, running = facts.vtl_config, facts.vtl_daemons
    for unread in (told, running):
        if isinstance(unread, str):
            yield Check("mhvtl_conf", State.UNKNOWN, unread)
            return
    assert not isinstance(told, str)
    assert not isinstance(running, str)
    daemons = [one for one in running["daemons"] if _is_mhvtls(one)]
    if not facts.modules["has_mhvtl_config"] and not daemons:
        return
    devices = told.get("devices", [])
    libraries = {one["number"] for one in devices if one["kind"] == "library"}
    configured = {
        ("vtllibrary" if one["kind"] == "library" else "vtltape", one["number"]) for one in devices
    }
    wrong = [
        f"{one['name']} {one['unit']} runs, and is not configured"
        for one in daemons
        if (one["name"], one["unit"]) not in configured
    ]
    wrong += [
        f"the drive {one['number']} is in library {one['library']}, which is not configured"
        for one in devices
        if one["kind"] == "drive" and one.get("library") not in {None, *libraries}
    ]
    contents = set(told.get("contents", []))
    wrong += [f"library_contents.{one} is missing" for one in sorted(libraries - contents)]
    if not devices:
        wrong.append("device.conf has no device")
    if not wrong:
        counts = f"libraries: {len(libraries)}, drives: {len(devices) - len(libraries)}"
        yield Check("mhvtl_conf", State.OK, f"it has all that runs ({counts})")
        return
    advice = "Put /etc/mhvtl right, from a backup if need be; `make_vtl_media` makes contents anew."
    yield Check("mhvtl_conf", State.PROBLEM, _listed(wrong), advice)


def _listed(names: Iterable[str]) -> str:
    shown = list(names)
    more = f" and {len(shown) - _MOST_NAMES} more" if len(shown) > _MOST_NAMES else ""
    return ", ".join(shown[:_MOST_NAMES]) + more
