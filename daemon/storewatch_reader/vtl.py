"""What virtual tape libraries have outside sysfs: daemons, a configuration, and media as files.

mhvtl 1.8.0: etc/device.conf.in, device.conf(5). A line that is none of those below is of no matter
here; of a device only what names it, and where it is, is told.
"""

import errno
import os
import re
from itertools import pairwise
from typing import Any

from storewatch_reader.roots import Roots

DAEMONS = ("vtllibrary", "vtltape", "tgtd")
MAX_CONFIG_BYTES = 1 << 20
MAX_FILES = 500_000
"""How many files of a media store are counted; of a larger one its size is not told."""

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


def daemons(roots: Roots, _: str) -> dict[str, Any]:
    """Return the daemons of virtual tape libraries: which device each is for, None where it does
    not say, and the state of its process.

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
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
        unit = unit_of(words.split("\0"))
        found.append({"pid": int(pid), "name": name, "unit": unit, "state": rest.strip()[0]})
    return {"daemons": sorted(found, key=lambda one: int(str(one["pid"])))}


def unit_of(words: list[str]) -> int | None:
    """Return the number after -q on a command line."""
    for word, after in pairwise([*words, ""]):
        match = _UNIT.fullmatch(f"-q{after}" if word == "-q" else word)
        if match:
            return int(match["unit"])
    return None


def config(roots: Roots, _: str) -> dict[str, Any]:
    """Return the devices that mhvtl is configured to have; `exists` alone where it is not."""
    try:
        raw = _bytes(f"{roots.etc}/mhvtl/device.conf", MAX_CONFIG_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return {"exists": False}
    return {"exists": True, "devices": parse_config(raw.decode(errors="replace"))}


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
    """Return how much room media take in each home directory of the configuration: what is
    allocated to their files, for which nothing else may be counted."""
    devices = config(roots, "").get("devices", [])
    homes = dict.fromkeys(one["home"] for one in devices if one.get("home", "").startswith("/"))
    return {"stores": {home: _store(home) for home in homes}}


def _store(home: str) -> dict[str, Any]:
    """Return the media of a home directory; `is_whole` says whether all files were counted."""
    cartridges = taken = files = 0
    try:
        with os.scandir(home) as entries:
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    continue
                sizes = _sizes(entry.path, MAX_FILES - files)
                files += len(sizes)
                if files >= MAX_FILES:
                    return {"exists": True, "is_whole": False}
                cartridges += any(name.startswith("meta") for name in sizes)
                taken += sum(sizes.values())
    except (FileNotFoundError, NotADirectoryError):
        return {"exists": False}
    return {"exists": True, "is_whole": True, "media": cartridges, "bytes": taken}


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


def _bytes(path: str, limit: int) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read(limit)
