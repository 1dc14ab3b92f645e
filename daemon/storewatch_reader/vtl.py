"""What virtual tape libraries have outside sysfs: daemons, units, a configuration, media as files.

mhvtl 1.8.0: etc/device.conf.in, device.conf(5), library_contents(5). A line that is none of those
below is of no matter here; of a device only what names it, and where it is, is told.
"""

import errno
import os
import re
import sys
from itertools import pairwise
from typing import Any

from storewatch_reader import clock, tools
from storewatch_reader.roots import Roots
from storewatch_reader.table import VTL_UNITS_COMMAND

DAEMONS = ("vtllibrary", "vtltape", "tgtd")
MAX_CONFIG_BYTES = 1 << 20
MAX_FILES = 500_000
"""How many files of a media store are counted; of a larger one its size is not told."""

MAX_CARTRIDGES = 20_000
"""How many cartridges of all stores are told one by one; of more, none is."""

MEMORY_BYTES = 8192
"""How much of a cartridge's memory is read; mhvtl 1.8.0 writes about a thousand."""

_UNITS_BYTES = 1 << 20

_DEVICE = re.compile(
    r"(?P<kind>Library|Drive):\s*(?P<number>\d{1,9})"
    r"\s+CHANNEL:\s*(?P<channel>\d{1,9})\s+TARGET:\s*(?P<target>\d{1,9})\s+LUN:\s*(?P<lun>\d{1,9})",
    re.ASCII,
)
_BAY = re.compile(r"\s+Library ID:\s*(?P<library>\d{1,9})\s+Slot:\s*(?P<slot>\d{1,9})", re.ASCII)
_FIELD = re.compile(r"\s+(?P<name>[A-Za-z ]+):\s*(?P<value>.*)")
_FIELDS = {
    "Vendor identification": "vendor",
    "Product identification": "product",
    "Unit serial number": "serial",
    "Home directory": "home",
}
_UNIT = re.compile(r"-q(?P<unit>\d{1,9})", re.ASCII)
_SERVICE = re.compile(r"(?P<name>vtllibrary|vtltape)@(?P<number>\d{1,9})\.service", re.ASCII)
_PLACE = re.compile(r"\s*(?:Slot|MAP|Drive|Picker)\s+\d{1,9}\s*:\s*(?P<tag>\S+)\s*", re.ASCII)
_CONTENTS = re.compile(r"library_contents\.(?P<number>\d{1,9})", re.ASCII)
_MAXIMUM_CAPACITY = 0x0001  # SPC-4, 7.4.2.2
_MIB = 1 << 20


def daemons(roots: Roots, _: str) -> dict[str, Any]:
    """Return the daemons of virtual tape libraries: which device each is for, None where it does
    not say, the state of its process, and the unit of systemd in which it runs, if that is its own.

    Raises:
        OSError: the processes of others cannot be seen (proc(5), hidepid).
    """
    if not os.path.exists(f"{roots.procfs}/1"):
        raise PermissionError(errno.EACCES, "Permission denied", f"{roots.procfs}/1")
    found = []
    for pid in os.listdir(roots.procfs):
        if not pid.isdigit():
            continue
        try:
            line = _bytes(f"{roots.procfs}/{pid}/stat", 4096).decode(errors="replace")
            name, _, rest = line.partition("(")[2].rpartition(")")
            if name not in DAEMONS or not rest.strip():
                continue
            words = _bytes(f"{roots.procfs}/{pid}/cmdline", 4096).decode(errors="replace")
            service = _service_of(roots, pid)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
        unit = unit_of(words.split("\0"))
        found.append(
            {
                "pid": int(pid),
                "name": name,
                "unit": unit,
                "state": rest.strip()[0],
                "service": service,
            }
        )
    return {"daemons": sorted(found, key=lambda one: int(str(one["pid"])))}


def unit_of(words: list[str]) -> int | None:
    """Return the number after -q on a command line."""
    for word, after in pairwise([*words, ""]):
        match = _UNIT.fullmatch(f"-q{after}" if word == "-q" else word)
        if match:
            return int(match["unit"])
    return None


def _service_of(roots: Roots, pid: str) -> str:
    """Return the unit of a library or drive in whose control group a process is; else empty."""
    try:
        text = _bytes(f"{roots.procfs}/{pid}/cgroup", 4096).decode(errors="replace")
    except FileNotFoundError:
        return ""  # a kernel without control groups
    for line in text.splitlines():
        for name in line.rpartition(":")[2].split("/"):
            if _SERVICE.fullmatch(name):
                return name
    return ""


def units(roots: Roots, _: str) -> dict[str, Any]:
    """Return what systemd says of the units of libraries and drives that it has loaded; `is_known`
    alone where this machine was not started by systemd.

    Raises:
        OSError: systemd does not answer.
    """
    if not os.path.isdir(f"{roots.run}/systemd/system"):  # sd_booted(3)
        return {"is_known": False}
    status, said, error = tools.spawned(roots, list(VTL_UNITS_COMMAND), _UNITS_BYTES)
    if status:
        words = error.decode(errors="replace").strip() or f"status {status}"
        raise OSError(errno.EIO, words, "systemctl show")
    found = parse_units(said.decode(errors="replace"), clock.monotonic())
    return {"is_known": True, "units": found}


def parse_units(text: str, now_s: float) -> list[dict[str, Any]]:
    """Return the units that `systemctl show` told of; `now_s` is CLOCK_MONOTONIC, which systemd's
    timestamps (microseconds) are of. `left_s` is how long ago a unit that is not active stopped
    being so, None for one that is active, or never was."""
    found = []
    for block in text.split("\n\n"):
        facts = dict(line.partition("=")[::2] for line in block.splitlines())
        service = _SERVICE.fullmatch(facts.get("Id", ""))
        state = facts.get("ActiveState", "")
        if service is None or not state:
            continue
        left = facts.get("ActiveExitTimestampMonotonic", "")
        is_over = state in ("deactivating", "inactive", "failed") and left.isdecimal()
        found.append(
            {
                "name": service["name"],
                "unit": int(service["number"]),
                "state": state,
                "sub_state": facts.get("SubState", ""),
                "result": facts.get("Result", ""),
                "left_s": max(0.0, now_s - int(left) / 1e6) if is_over and int(left) else None,
            }
        )
    return found


def config(roots: Roots, _: str) -> dict[str, Any]:
    """Return the devices that mhvtl is configured to have, and of which libraries there is a file
    of their contents; `exists` alone where it is not."""
    try:
        raw = _bytes(f"{roots.etc}/mhvtl/device.conf", MAX_CONFIG_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return {"exists": False}
    contents = [number for number, _ in _contents(roots)]
    devices = parse_config(raw.decode(errors="replace"))
    return {"exists": True, "devices": devices, "contents": contents}


def parse_config(text: str) -> list[dict[str, Any]]:
    """Return the libraries and drives of a device.conf, in its order."""
    found: list[dict[str, Any]] = []
    is_in_record = False  # which begins in the first column, and ends at an empty line
    for line in text.split("\n"):
        begins = _DEVICE.match(line)
        if begins:
            place = ":".join(str(int(begins[name])) for name in ("channel", "target", "lun"))
            kind = begins["kind"].lower()
            found.append({"kind": kind, "number": int(begins["number"]), "place": place})
            is_in_record = True
        elif not line.strip():
            is_in_record = False
        elif is_in_record:
            found[-1] |= _said(line)
    return found


def _said(line: str) -> dict[str, Any]:
    bay = _BAY.match(line)
    if bay:
        return {"library": int(bay["library"]), "slot": int(bay["slot"])}
    match = _FIELD.fullmatch(line)
    name = _FIELDS.get(match["name"]) if match else None
    return {name: match["value"].strip()} if match and name else {}


def media(roots: Roots, _: str) -> dict[str, Any]:
    """Return the cartridges in each home directory of the configuration: name, what is allocated to
    its files, its capacity, None where that is not told, and the number of the library in whose
    contents it is listed, None where it is in none.

    `is_whole` is false where there are more than are counted.
    """
    devices = config(roots, "").get("devices", [])
    homes = dict.fromkeys(one["home"] for one in devices if one.get("home", "").startswith("/"))
    owners = _owners(roots)
    return {"stores": {home: _store(home, owners) for home in homes}}


def _owners(roots: Roots) -> dict[str, int]:
    """Return which library each bar code belongs to; one that several list has no owner."""
    found: dict[str, int] = {}
    several = set()
    for number, path in _contents(roots):
        for tag in parse_contents(_bytes(path, MAX_CONFIG_BYTES).decode(errors="replace")):
            if found.setdefault(tag, number) != number:
                several.add(tag)
    return {tag: number for tag, number in found.items() if tag not in several}


def _contents(roots: Roots) -> list[tuple[int, str]]:
    """Return the files of what libraries have in them, by their numbers."""
    place = f"{roots.etc}/mhvtl"
    try:
        names = os.listdir(place)
    except (FileNotFoundError, NotADirectoryError):
        return []
    matches = filter(None, map(_CONTENTS.fullmatch, names))
    return sorted((int(match["number"]), f"{place}/{match[0]}") for match in matches)


def parse_contents(text: str) -> list[str]:
    """Return the bar codes of a library_contents file, in its order."""
    matches = (_PLACE.fullmatch(line) for line in text.split("\n"))
    return [match["tag"] for match in matches if match]


def _store(home: str, owners: dict[str, int]) -> dict[str, Any]:
    cartridges: list[tuple[str, int, int | None, int | None]] = []
    files = 0
    try:
        with os.scandir(home) as entries:
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    continue
                sizes = _sizes(entry.path, MAX_FILES - files)
                files += len(sizes)
                if files >= MAX_FILES or len(cartridges) >= MAX_CARTRIDGES:
                    return {"exists": True, "is_whole": False}
                if any(name.startswith("meta") for name in sizes):
                    name = os.fsencode(entry.name).decode(errors="backslashreplace")
                    taken, owner = sum(sizes.values()), owners.get(name)
                    cartridges.append((name, taken, _capacity(entry.path), owner))
    except (FileNotFoundError, NotADirectoryError):
        return {"exists": False}
    return {"exists": True, "is_whole": True, "cartridges": sorted(cartridges)}


def _sizes(directory: str, limit: int) -> dict[str, int]:
    """Return what is allocated to each file of a cartridge."""
    sizes: dict[str, int] = {}
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if len(sizes) >= limit:
                    break
                about = entry.stat(follow_symlinks=False)
                sizes[entry.name] = 512 * about.st_blocks
    except FileNotFoundError:
        pass  # it was taken away meanwhile
    return sizes


def _capacity(directory: str) -> int | None:
    try:
        return parse_memory(_bytes(f"{directory}/mam", MEMORY_BYTES))
    except FileNotFoundError:
        return None  # before mhvtl 1.7 it is in the file meta


def parse_memory(content: bytes) -> int | None:
    """Return the capacity, in bytes, by the file of a cartridge's memory; None where it does not
    tell any that can be so.

    mhvtl 1.8.0, usr/vtlcart.c: two versions of four bytes, and then attributes: number and length,
    of two bytes each in the order of the machine, and a value, big-endian. mktape makes a capacity
    of whole MiB.
    """
    at = 8
    while at + 4 <= len(content):
        number = int.from_bytes(content[at : at + 2], sys.byteorder)
        length = int.from_bytes(content[at + 2 : at + 4], sys.byteorder)
        value = content[at + 4 : at + 4 + length]
        if number == _MAXIMUM_CAPACITY:
            told = int.from_bytes(value, "big") if length == len(value) == 8 else 0
            return told if told and told % _MIB == 0 else None
        at += 4 + length
    return None


def _bytes(path: str, limit: int) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read(limit)
