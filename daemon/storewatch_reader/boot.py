"""What the next start of the machine depends on: kernels, modules, units, fstab, crypttab, and the
configuration of SCST and of backup programs.

The texts of configuration are judged in the daemon; what may be a secret never leaves the worker.
Names that are no UTF-8 are told escaped, as everywhere.
"""

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from typing import Any

from storewatch_reader.modules import name_of
from storewatch_reader.roots import Roots

MODULES = (
    *("scst", "scst_vdisk", "scst_disk", "scst_changer", "scst_tape", "scst_user", "scst_local"),
    *("iscsi_scst", "isert_scst", "ib_srpt", "qla2x00t", "qla2x00tgt", "qla2xxx_scst", "mhvtl"),
)
"""The modules that an appliance may need and no kernel brings along."""

CONFIG_BYTES = 8 << 20
"""No configuration file is read any further; a longer one is refused."""

DEPENDENCIES_BYTES = 64 << 20
_PIECE_BYTES = 1 << 16

_KERNEL = "vmlinuz-"
_NOT_KERNELS = re.compile(r"0-rescue-.*|.*\.(?:old|bak|dpkg-.*|hmac|rpm.*)")
_GRUB_DEFAULT = re.compile(r"\s*GRUB_DEFAULT=(.*)")
_GRUB_ENTRY = re.compile(r"(saved_entry|next_entry)=(.*)")
_INITRAMFS = re.compile(r"initrd\.img-(.+)|initramfs-(.+)\.img|initrd-(.+)")
_NOT_INITRAMFS = re.compile(
    r".*-0-rescue-.*|.*(?:kdump|-fallback|\.old|\.bak|\.new|\.dpkg-.*)(?:\.img)?"
)

# Statements of scst.conf that have a block, or are an object; all others are attributes.
_OBJECTS = "HANDLER|DEVICE|TARGET_DRIVER|TARGET|LUN|GROUP|INITIATOR|DEVICE_GROUP|TARGET_GROUP"
_OBJECT = re.compile(rf"(?:{_OBJECTS})(?:\s+[^\s{{}}\"']+){{1,2}}(?:\s*\{{)?")
_BROKEN_OBJECT = re.compile(rf"({_OBJECTS})\b.*")
_ATTRIBUTE = re.compile(r"(?:filename|enabled|read_only|rel_tgt_id|active)\s+[^{}]*")

_TAGS = {"UUID": "by-uuid", "LABEL": "by-label", "PARTUUID": "by-partuuid"}
_TAGS["PARTLABEL"] = "by-partlabel"
_MOST_ENTRIES = 1000

# Bareos and Bacula take a directive's name with spaces or without, in any case.
_TAPE_NAME = re.compile(
    r"\s*(?P<directive>(?:archive|changer|control)\s*device)\s*=\s*\"?(?P<path>/dev/[\w./:+@-]+)\"?"
    r"\s*(?:[;#].*)?",
    re.IGNORECASE | re.ASCII,
)
_TAPE_CONFIGS = ("bareos/bareos-sd.conf", "bacula/bacula-sd.conf")
_TAPE_FOLDERS = (
    *("bareos/bareos-sd.d/device", "bareos/bareos-sd.d/autochanger"),
    *("bacula/bacula-sd.d", "bacula/conf.d"),
)


def kernels(roots: Roots, _: str) -> dict[str, Any]:
    """Return which kernels are installed, which one runs, and what says which one is next: the
    link `vmlinuz`, GRUB's GRUB_DEFAULT (None without GRUB), and the entries in its environment.
    Of each initial file system its size, and how much room there is for another: both in bytes."""
    installed = sorted(
        _shown(name.removeprefix(_KERNEL))
        for name in _names(roots.boot)
        if name.startswith(_KERNEL) and not _NOT_KERNELS.fullmatch(name.removeprefix(_KERNEL))
    )
    link = ""
    for place in (f"{roots.boot}/vmlinuz", f"{roots.boot}/../vmlinuz"):
        with contextlib.suppress(OSError):
            link = link or os.path.basename(os.readlink(place))
    running = _text(f"{roots.procfs}/sys/kernel/osrelease")
    return {
        "running": "" if running is None else running.strip(),
        "installed": installed,
        "link": _shown(link).removeprefix(_KERNEL),
        "grub_default": _grub_default(roots),
        "grub_entries": _grub_entries(roots),
        "initramfs": _initramfs(roots),
        "free_bytes": _free(roots.boot),
    }


def _initramfs(roots: Roots) -> dict[str, int]:
    """Return the sizes of initial file systems, by kernel."""
    found = {}
    for name in _names(roots.boot):
        match = None if _NOT_INITRAMFS.fullmatch(name) else _INITRAMFS.fullmatch(name)
        if match:
            with contextlib.suppress(FileNotFoundError):
                size = os.stat(f"{roots.boot}/{name}").st_size
                found[_shown(match[1] or match[2] or match[3])] = size
    return found


def _free(place: str) -> int | None:
    """Return how much room root has in a file system; None where there is no such place."""
    try:
        sizes = os.statvfs(place)
    except FileNotFoundError:
        return None
    return sizes.f_bfree * sizes.f_frsize


def _grub_default(roots: Roots) -> str | None:
    """Return the last GRUB_DEFAULT; empty where it is not set, None where there is no GRUB."""
    text = _text(f"{roots.etc}/default/grub")
    if text is None:
        return None
    found = [match[1] for line in text.splitlines() if (match := _GRUB_DEFAULT.match(line))]
    return found[-1].split("#")[0].strip().strip("\"'") if found else ""


def _grub_entries(roots: Roots) -> dict[str, str]:
    for folder in ("grub", "grub2"):
        text = _text(f"{roots.boot}/{folder}/grubenv")
        if text is not None:
            return {
                match[1]: match[2].strip()
                for line in text.splitlines()
                if (match := _GRUB_ENTRY.fullmatch(line)) and match[2].strip()
            }
    return {}


def modules(roots: Roots, _: str) -> dict[str, Any]:
    """Return which of MODULES each kernel has, built in, or listed in its modules.dep and there
    (None without modules.dep: nothing can be loaded), with the marks of their files, by which one
    that was built anew is told; which are loaded; whether mhvtl is configured."""
    found: dict[str, list[str] | None] = {}
    files: dict[str, dict[str, str]] = {}
    for version in _names(roots.modules):
        place = f"{roots.modules}/{version}"
        if os.path.isdir(place):
            found[_shown(version)], files[_shown(version)] = _modules_of(place)
    loaded = _text(f"{roots.procfs}/modules")
    names = {line.partition(" ")[0] for line in (loaded or "").splitlines()}
    return {
        "kernels": found,
        "files": files,
        "loaded": sorted(names.intersection(MODULES)),
        "has_mhvtl_config": os.path.exists(f"{roots.etc}/mhvtl/device.conf"),
    }


def _modules_of(place: str) -> tuple[list[str] | None, dict[str, str]]:
    """Return the modules of a kernel, and the marks of those that are files."""
    text = _text(f"{place}/modules.dep", DEPENDENCIES_BYTES)
    if text is None:
        return None, {}
    built_in = _text(f"{place}/modules.builtin") or ""
    has = {name_of(path) for path in built_in.splitlines()}.intersection(MODULES)
    files = {}
    for line in text.splitlines():
        path = line.partition(":")[0]
        name = name_of(path)
        if name in MODULES:
            # os.path.join takes an absolute path as it is, which old versions of depmod wrote.
            with contextlib.suppress(FileNotFoundError):
                about = os.stat(os.path.join(place, path))
                files[name] = f"{about.st_ino} {about.st_size} {about.st_mtime_ns}"
    return sorted(has.union(files)), files


def units(roots: Roots, _: str) -> dict[str, Any]:
    """Return which units of systemd and scripts of SysV start with the machine, and which units
    are masked."""
    top = f"{roots.etc}/systemd/system"
    enabled: set[str] = set()
    masked: set[str] = set()
    for name in _names(top):
        if name.endswith((".wants", ".requires")):
            enabled.update(map(_shown, _names(f"{top}/{name}")))
            continue
        with contextlib.suppress(OSError):
            if os.readlink(f"{top}/{name}") == "/dev/null":
                masked.add(_shown(name))
    scripts = {
        _shown(name[3:])
        for level in "2345"
        for name in _names(f"{roots.etc}/rc{level}.d")
        if re.fullmatch(r"S[0-9][0-9].+", name)
    }
    return {"enabled": sorted(enabled), "masked": sorted(masked), "scripts": sorted(scripts)}


def fstab(roots: Roots, _: str) -> dict[str, Any]:
    """Return the devices of fstab and whether each is there. Options are not told: they may hold
    a password."""
    text = _text(f"{roots.etc}/fstab")
    entries = []
    for line in (text or "").splitlines():
        words = line.split()
        if len(words) < 2 or words[0].startswith("#"):
            continue
        source = _unescaped(words[0])
        exists = _exists(roots, source)
        if exists is None:
            continue
        options = words[3].split(",") if len(words) > 3 else []
        entries.append(
            {
                "source": _shown(source),
                "mount_point": _shown(_unescaped(words[1])),
                "is_needed": not {"noauto", "nofail"}.intersection(options),
                "exists": exists,
            }
        )
    return {"exists": text is not None, "entries": entries[:_MOST_ENTRIES]}


def crypttab(roots: Roots, _: str) -> dict[str, Any]:
    """Return the devices of crypttab(5) and whether each is there. Neither keys nor options are
    told."""
    text = _text(f"{roots.etc}/crypttab")
    entries = []
    for line in (text or "").splitlines():
        words = line.split()
        if len(words) < 2 or words[0].startswith("#"):
            continue
        exists = _exists(roots, words[1])
        if exists is None:
            continue
        options = words[3].split(",") if len(words) > 3 else []
        entries.append(
            {
                "source": _shown(words[1]),
                "name": _shown(words[0]),
                "is_needed": not {"noauto", "nofail"}.intersection(options),
                "exists": exists,
            }
        )
    return {"exists": text is not None, "entries": entries[:_MOST_ENTRIES]}


def tape_names(roots: Roots, _: str) -> dict[str, Any]:
    """Return by which names backup programs know their drives and libraries: of the configuration
    of Bareos' and Bacula's storage daemons only these lines are told, and they hold no password."""
    files = list(_TAPE_CONFIGS)
    for folder in _TAPE_FOLDERS:
        names = [name for name in _names(f"{roots.etc}/{folder}") if name.endswith(".conf")]
        files += [f"{folder}/{name}" for name in names]
    found = []
    for file in files:
        text = _text(f"{roots.etc}/{file}")
        for line in (text or "").splitlines():
            match = _TAPE_NAME.fullmatch(line)
            if match:
                directive = " ".join(
                    match["directive"].lower().replace("device", " device").split()
                )
                found.append({"file": _shown(file), "directive": directive, "path": match["path"]})
    return {"devices": found[:_MOST_ENTRIES]}


def reboot(roots: Roots, _: str) -> dict[str, Any]:
    """Return whether somebody means to start the machine anew: when, Unix seconds, and how, as
    shutdown(8) has noted it, None where nothing is; and whether packages ask for it."""
    text = _text(f"{roots.run}/systemd/shutdown/scheduled") or ""
    facts = dict(line.partition("=")[::2] for line in text.splitlines())
    told = facts.get("USEC", "")
    return {
        "at": int(told) / 1e6 if re.fullmatch(r"[0-9]{1,16}", told) else None,
        "mode": _shown(facts.get("MODE", "")),
        "is_required": os.path.exists(f"{roots.run}/reboot-required"),
    }


def _exists(roots: Roots, source: str) -> bool | None:
    """Return whether a device is there; None for what is none."""
    if source.startswith("/dev/"):
        return os.path.exists(f"{roots.dev}/{source.removeprefix('/dev/')}")
    tag, equals, value = source.partition("=")
    if not equals or tag not in _TAGS:
        return None
    # udev(7): in the names of links, all but these characters are encoded.
    wanted = re.sub(r"[^\w#+.:=@-]", _encoded, value.strip("\"'"))
    names = _names(f"{roots.dev}/disk/{_TAGS[tag]}")
    return wanted.lower() in {name.lower() for name in names}


def _encoded(match: re.Match[str]) -> str:
    return "".join(f"\\x{byte:02x}" for byte in match[0].encode(errors="backslashreplace"))


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def scst_config(roots: Roots, _: str) -> dict[str, Any]:
    """Return scst.conf without its secrets: the objects, and the attributes that are known to hold
    none. Of any other line only that it was there is told."""
    text = _text(f"{roots.etc}/scst.conf")
    if text is None:
        return {"exists": False, "text": ""}
    return {"exists": True, "text": "".join(f"{line}\n" for line in redacted(text))}


def redacted(text: str) -> Iterator[str]:
    """Yield the lines of an scst.conf that may leave the worker. What is let through is listed, and
    not what is held back: nobody knows all the names that a secret may have."""
    for line in text.splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        broken = _BROKEN_OBJECT.fullmatch(line)
        if line == "}" or _OBJECT.fullmatch(line) or _ATTRIBUTE.fullmatch(line):
            yield line
        elif broken:
            yield broken[1]  # an object without a name, which is no valid statement
        else:
            yield "withheld {" if line.endswith("{") else "withheld"


def _names(place: str) -> list[str]:
    """Return the names in a directory; one that is not there has none."""
    try:
        return sorted(os.listdir(place))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _text(path: str, most: int = CONFIG_BYTES) -> str | None:
    """Return a file's text; None where there is no such file."""
    try:
        # In pieces: a sysctl says ENOMEM to whoever asks for megabytes at once.
        with open(path, "rb", buffering=0) as file:
            content = bytearray()
            while (piece := file.read(_PIECE_BYTES)) and len(content) <= most:
                content += piece
    except (FileNotFoundError, NotADirectoryError):
        return None
    if len(content) > most:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
    return content.decode(errors="backslashreplace")


def _shown(name: str) -> str:
    return os.fsencode(name).decode(errors="backslashreplace")
