"""Parses SCST's tree of attributes, whatever part of it was read. Pure.

Layouts differ between versions and builds, so everything may be missing. A value may be followed by
a line `[key]`, which means that it is not the default, and by blank lines. Nearly every value ends
in a newline: one that does not was cut off, and is not believed.
"""

import errno
import re
from collections.abc import Iterator, Mapping

from storewatchd.probes.scst.model import (
    DIRECTIONS,
    Cache,
    Command,
    Connection,
    Counters,
    Device,
    Driver,
    Group,
    Identity,
    Lun,
    Scst,
    Session,
    Target,
    TargetGroup,
)
from storewatchd.probes.scst.reservations import parse_reservation

Content = bytes | int
Attributes = Mapping[str, Content]
"""By path below the root: content, or a negative errno. A path that ends in `/` is a directory,
one that ends in `@` a symbolic link, whose content is where it leads."""

_NUMBER = re.compile(rb"(-?[0-9]{1,20})\n(?:\[key\]\n)?\n*")
_TWO_NUMBERS = re.compile(rb"([0-9]{1,20}) ([0-9]{1,20})\n(?:\[key\]\n)?\n*")
_TYPE = re.compile(r"([0-9]{1,3}) - ")
_LUN = re.compile(r"[0-9]{1,10}")
_CACHE = re.compile(r"(\S+) +([0-9]{1,20}) +([0-9]{1,20}) +[0-9]+ +([0-9]{1,20})/[0-9]+/[0-9]+")
_INACTIVE = re.compile(r"Inactive pages +([0-9]{1,20})")
_COMMAND = re.compile(
    r"cmd [^;]*: state ([^;]+); op [^;]*; proc time ([0-9]{1,10}) sec; tgtt ([^;]*); tgt ([^;]*); "
    r"session [^;]*; grp [^;]*; LUN ([0-9]{1,20}); ini ([^;]*); cdb [0-9a-f ]*"
)

_PENDING = "last_sysfs_mgmt_res"

_NEGOTIATED = (
    *("HeaderDigest", "DataDigest", "InitialR2T", "ImmediateData", "MaxOutstandingR2T"),
    *("MaxRecvDataSegmentLength", "MaxXmitDataSegmentLength"),
    *("FirstBurstLength", "MaxBurstLength"),
)


def parse_tree(attributes: Attributes) -> Scst:
    """Return what the attributes say, of those that are there."""
    folders = _Folders(attributes)
    root = folders.facts("")
    drivers = tuple(_driver(folders, name) for name in folders.names("targets"))
    version, features = _version(root.get("version"))
    return Scst(
        version=version,
        features=features,
        suspended=_number(root.get("suspend")),
        threads=_number(root.get("threads")),
        poll_us=_number(root.get("poll_us")),
        is_management_pending=_is_pending(root.get(_PENDING)),
        measures_latency=_flag(root.get("measure_latency")),
        drivers=drivers,
        devices=_devices(folders, drivers),
        handlers={
            _shown(name): _type(folders.facts(f"handlers/{name}").get("type"))
            for name in folders.names("handlers")
        },
        target_groups=tuple(_target_groups(folders)),
        caches=tuple(_caches(folders)),
        inactive_pages=_inactive_pages(folders.facts("sgv").get("global_stats")),
        commands=tuple(parse_commands(root.get("trace_cmds"))),
        asked_again=folders.asked_again,
    )


def parse_commands(content: Content | None) -> Iterator[Command]:
    """Yield the commands of trace_cmds. Not all need be there: what does not fit in a page is cut
    off, in the middle of a line."""
    if not isinstance(content, bytes):
        return
    for line in content.decode(errors="backslashreplace").split("\n")[:-1]:
        found = _COMMAND.fullmatch(line)
        if found:
            state, age_s, driver, target, lun, initiator = found.groups()
            yield Command(driver, target, initiator, int(lun), state, int(age_s))


def parse_dif(content: Content | None) -> dict[tuple[str, str], int]:
    """Return a table of errors of data integrity by stage (row) and tag (column)."""
    lines = _text(content).split("\n")
    tags = lines[0].split()
    found = {}
    for line in lines[1:]:
        stage, *counts = line.split()
        if len(counts) != len(tags):
            return {}
        for tag, count in zip(tags, counts, strict=True):
            if not re.fullmatch("[0-9]{1,20}", count):
                return {}
            found[stage, tag] = int(count)
    return found


class _Folders:
    """The attributes by the directory that they are in, and the directories by the one above."""

    def __init__(self, attributes: Attributes) -> None:
        self._facts: dict[str, dict[str, Content]] = {}
        self._below: dict[str, set[str]] = {}
        self.asked_again = 0
        for path, content in attributes.items():
            folder, _, name = path.rpartition("/")
            facts = self._facts.get(folder)
            if facts is None:
                facts = self._facts[folder] = {}
                self._note(folder)
            if name:
                facts[name] = content
            if content == -errno.EAGAIN and path != _PENDING:
                self.asked_again += 1

    def _note(self, folder: str) -> None:
        while folder:
            above, _, name = folder.rpartition("/")
            known = self._below.setdefault(above, set())
            if name in known:
                return
            known.add(name)
            folder = above

    def facts(self, folder: str) -> Mapping[str, Content]:
        """Return the attributes in a directory, by name."""
        return self._facts.get(folder, {})

    def names(self, folder: str) -> list[str]:
        """Return the directories in a directory, in order."""
        return sorted(self._below.get(folder, ()))


def _driver(folders: _Folders, name: str) -> Driver:
    place = f"targets/{name}"
    is_open = {"open": True, "closed": False}.get(_text(folders.facts(place).get("open_state")))
    shown = _shown(name)
    targets = (_target(folders, shown, f"{place}/{one}", one) for one in folders.names(place))
    return Driver(shown, is_open, tuple(targets))


def _target(folders: _Folders, driver: str, place: str, name: str) -> Target:
    facts = folders.facts(place)
    shown = _shown(name)
    return Target(
        driver=driver,
        name=shown,
        is_enabled=_flag(facts.get("enabled")),
        relative_id=_number(facts.get("rel_tgt_id")),
        hardware=_text(facts.get("hw_target")),
        comment=_text(facts.get("comment")),
        black_hole=_number(facts.get("black_hole")),
        is_forwarding=_flag(facts.get("forwarding")),
        forwards_source=_flag(facts.get("forward_src")),
        forwards_destination=_flag(facts.get("forward_dst")),
        luns=_luns(folders, f"{place}/luns"),
        groups=tuple(
            _group(folders, f"{place}/ini_groups/{group}", group)
            for group in folders.names(f"{place}/ini_groups")
        ),
        sessions=tuple(
            _session(folders, driver, shown, f"{place}/sessions/{directory}", directory)
            for directory in folders.names(f"{place}/sessions")
        ),
    )


def _luns(folders: _Folders, place: str) -> tuple[Lun, ...]:
    found = []
    for name in folders.names(place):
        if _LUN.fullmatch(name):
            facts = folders.facts(f"{place}/{name}")
            is_read_only = _flag(facts.get("read_only"))
            found.append(Lun(int(name), _leads_to(facts.get("device@")), is_read_only))
    return tuple(sorted(found, key=lambda lun: lun.number))


def _group(folders: _Folders, place: str, name: str) -> Group:
    initiators = folders.facts(f"{place}/initiators")
    return Group(
        _shown(name),
        luns=_luns(folders, f"{place}/luns"),
        initiators=tuple(
            _text(content) for one, content in sorted(initiators.items()) if one != "mgmt"
        ),
        black_hole=_number(folders.facts(place).get("black_hole")),
    )


def _session(folders: _Folders, driver: str, target: str, place: str, directory: str) -> Session:
    facts = folders.facts(place)
    initiator = _text(facts.get("initiator_name"))
    sid = _text(facts.get("sid"))
    # Where its sid is there and cannot be read, it is not known which session it is.
    is_known = initiator and (sid or "sid" not in facts)
    active, connections = {}, []
    for name in folders.names(place):
        if name.startswith("lun") and _LUN.fullmatch(name[3:]):
            count = _number(folders.facts(f"{place}/{name}").get("active_commands"))
            if count is not None:
                active[int(name[3:])] = count
        elif "." in name or ":" in name:
            connections.append(_connection(folders.facts(f"{place}/{name}"), name))
    return Session(
        directory=_shown(directory),
        identity=Identity(driver, target, initiator, sid) if is_known else None,
        counters=_counters(facts),
        outstanding=_number(facts.get("commands")),
        active=active,
        group=_group_of(facts.get("luns@")),
        connections=tuple(connections),
        negotiated={name: value for name in _NEGOTIATED if (value := _text(facts.get(name)))},
        is_reinstating=_flag(facts.get("reinstating")),
        dif_errors=parse_dif(facts.get("dif_checks_failed")),
    )


def _counters(facts: Mapping[str, Content]) -> Counters:
    commands: dict[str, int] = {}
    kib: dict[str, int] = {}
    unaligned: dict[str, int] = {}
    for direction in DIRECTIONS:
        for name, found in (
            ("cmd_count", commands),
            ("io_count_kb", kib),
            ("unaligned_cmd_count", unaligned),
        ):
            count = _number(facts.get(f"{direction}_{name}"))
            if count is not None and count >= 0:
                found[direction] = count
    return Counters(commands, kib, unaligned)


def _connection(facts: Mapping[str, Content], name: str) -> Connection:
    # The state and the addresses have no newline at all.
    return Connection(
        _shown(name),
        state=_words(facts.get("state")),
        transport=_text(facts.get("transport")),
        target_address=_words(facts.get("target_ip")),
    )


def _devices(folders: _Folders, drivers: tuple[Driver, ...]) -> tuple[Device, ...]:
    exports: dict[str, int] = {}
    for target in Scst(drivers=drivers).exported():
        for luns in (target.luns, *(group.luns for group in target.groups)):
            for lun in luns:
                exports[lun.device] = exports.get(lun.device, 0) + 1
    return tuple(
        _device(folders.facts(f"devices/{name}"), _shown(name), exports.get(_shown(name), 0))
        for name in folders.names("devices")
    )


def _device(facts: Mapping[str, Content], name: str, exports: int) -> Device:
    block = facts.get("block")
    blocks = _TWO_NUMBERS.fullmatch(block) if isinstance(block, bytes) else None
    return Device(
        name=name,
        handler=_leads_to(facts.get("handler@")),
        type=_type(facts.get("type")),
        size_bytes=_number(facts.get("size")),
        is_active=_flag(facts.get("active")),
        blocked=int(blocks[1]) if blocks else None,
        block_pending=int(blocks[2]) if blocks else None,
        filename=_filename(facts.get("filename")),
        t10_dev_id=_text(facts.get("t10_dev_id")),
        usn=_text(facts.get("usn")),
        is_read_only=_flag(facts.get("read_only")),
        is_write_through=_flag(facts.get("write_through")),
        has_nv_cache=_flag(facts.get("nv_cache")),
        is_thin=_flag(facts.get("thin_provisioned")),
        is_direct=_flag(facts.get("o_direct")),
        exports=exports,
        reservation=parse_reservation(facts.get("pr_state")),
    )


def _target_groups(folders: _Folders) -> Iterator[TargetGroup]:
    for device_group in folders.names("device_groups"):
        place = f"device_groups/{device_group}/target_groups"
        for name in folders.names(place):
            facts = folders.facts(f"{place}/{name}")
            yield TargetGroup(
                _shown(device_group),
                _shown(name),
                state=_text(facts.get("state")),
                group_id=_number(facts.get("group_id")),
                is_preferred=_flag(facts.get("preferred")),
            )


def _caches(folders: _Folders) -> Iterator[Cache]:
    """Yield the caches; the second line of each one's table is the sum of the others."""
    for name in folders.names("sgv"):
        lines = _text(folders.facts(f"sgv/{name}").get("stats")).split("\n")
        found = _CACHE.fullmatch(lines[1]) if len(lines) > 1 else None
        if found:
            hits, allocations, pages = (int(found[place]) for place in (2, 3, 4))
            yield Cache(_shown(name), hits, allocations, pages)


def _inactive_pages(content: Content | None) -> int | None:
    found = _INACTIVE.fullmatch(_text(content))
    return int(found[1]) if found else None


def _version(content: Content | None) -> tuple[str, tuple[str, ...]]:
    """Return the version and what it was built with: 3.11 says `name: value` lines, older ones the
    version alone and a line for each feature."""
    lines = _text(content).split("\n")
    said = dict(line.split(": ", 1) for line in lines if ": " in line)
    if "SCST version" in said:
        return said["SCST version"], tuple(said.get("SCST config", "").split())
    return lines[0], tuple(line for line in lines[1:] if line and ":" not in line)


def _is_pending(content: Content | None) -> bool | None:
    """Return whether a management operation is queued or runs: its result is not there yet."""
    if isinstance(content, bytes):
        return False
    return True if content == -errno.EAGAIN else None


def _type(content: Content | None) -> int | None:
    found = _TYPE.match(_text(content))
    return int(found[1]) if found else None


def _filename(content: Content | None) -> str | None:
    """Return where a virtual device has its data; nothing for a drive without a medium."""
    if not isinstance(content, bytes) or not content.endswith(b"\n"):
        return None
    name = _text(content)
    return "" if name == "none" else name


def _leads_to(content: Content | None) -> str:
    return _words(content).rpartition("/")[2]


def _group_of(content: Content | None) -> str:
    words = _words(content).split("/")
    return words[-2] if words[-3:-2] == ["ini_groups"] else ""


def _number(content: Content | None) -> int | None:
    found = _NUMBER.fullmatch(content) if isinstance(content, bytes) else None
    return int(found[1]) if found else None


def _flag(content: Content | None) -> bool | None:
    number = _number(content)
    return None if number is None else number != 0


def _text(content: Content | None) -> str:
    """Return a value's text; nothing where it could not be read, or was cut off."""
    if not isinstance(content, bytes) or not content.endswith(b"\n"):
        return ""
    text = content.decode(errors="backslashreplace").rstrip("\n")
    return text.removesuffix("[key]").rstrip("\n") if text.endswith("\n[key]") else text


def _words(content: Content | None) -> str:
    """Return the text of what has no newline."""
    if not isinstance(content, bytes):
        return ""
    return content.decode(errors="backslashreplace").strip()


def _shown(name: str) -> str:
    """Return a directory's name as text that can be told: one that is no UTF-8 is escaped."""
    return name if name.isascii() else name.encode(errors="backslashreplace").decode()
