"""The metric families of SCST, and the rows that a parsed tree gives them. Pure."""

import re
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, TypeVar

from storewatchd.core.frames import Row
from storewatchd.probes.base import counter, gauge
from storewatchd.probes.scst.accumulate import LOGINS, Key, Ledger
from storewatchd.probes.scst.memory import Memory
from storewatchd.probes.scst.model import (
    COPY_MANAGER,
    Device,
    Driver,
    Identity,
    Scst,
    Session,
    Target,
)
from storewatchd.probes.scst.presence import Presence

KIB = 1024.0

_TARGET = ("driver", "target")
_INITIATOR = (*_TARGET, "initiator")
_SESSION = (*_INITIATOR, "session")

STATE_FAMILIES = (gauge("scst_up", "Whether SCST is loaded."),)

FAMILIES = (
    gauge("scst_info", "What SCST runs.", "version", "features"),
    gauge("scst_suspended", "How often all of its activity is suspended: over 0 all I/O stands."),
    gauge("scst_threads", "Threads that serve commands."),
    gauge("scst_poll_seconds", "For how long they poll before they sleep.", unit="seconds"),
    gauge("scst_management_pending", "Whether a management operation waits or runs."),
    gauge("scst_latency_measured", "Whether it measures latencies, which costs time."),
    gauge("scst_driver_open", "Whether the daemon of a target driver runs.", "driver"),
    gauge("scst_driver_targets", "Targets of a driver.", "driver"),
    gauge(
        "scst_driver_lost_targets",
        "Targets that a driver had in the last day, and has no more.",
        "driver",
    ),
    gauge("scst_target_enabled", "Whether initiators may log in.", *_TARGET),
    gauge("scst_target_info", "What a target is.", *_TARGET, "rel_tgt_id", "hw_target", "comment"),
    gauge("scst_target_port", "The Fibre Channel port that a target is.", *_TARGET, "port"),
    gauge("scst_target_luns", "LUNs of a target, those of its groups not counted.", *_TARGET),
    gauge("scst_target_groups", "Groups of initiators.", *_TARGET),
    gauge("scst_target_sessions", "Sessions that are logged in.", *_TARGET),
    gauge("scst_target_black_hole", "A test mode that drops commands.", *_TARGET, "group"),
    gauge("scst_target_forwarding", "Whether commands are forwarded.", *_TARGET, "dir"),
    gauge(
        "scst_session_up",
        "Whether a session is there: 0 for a day where one that lasted is gone.",
        *_SESSION,
    ),
    gauge(
        "scst_session_start_timestamp_seconds",
        "When a session was first seen.",
        *_SESSION,
        unit="seconds",
    ),
    counter("scst_session_commands_total", "Commands that ended.", *_SESSION, "direction"),
    counter("scst_session_bytes_total", "Data of commands that ended.", *_SESSION, "direction"),
    counter(
        "scst_session_unaligned_commands_total",
        "Commands that ended and were not aligned to 4 KiB.",
        *(*_SESSION, "direction"),
    ),
    gauge("scst_session_commands_outstanding", "Commands under way.", *_SESSION),
    gauge(
        "scst_lun_commands_outstanding",
        "Commands that a LUN is busy with.",
        *(*_SESSION, "lun", "device"),
    ),
    counter(
        "scst_initiator_commands_total",
        "Commands that ended, over all sessions of an initiator.",
        *(*_INITIATOR, "direction"),
    ),
    counter(
        "scst_initiator_bytes_total",
        "Data of commands that ended, over all sessions of an initiator.",
        *(*_INITIATOR, "direction"),
    ),
    counter("scst_initiator_logins_total", "Sessions that began.", *_INITIATOR),
    counter(
        "scst_target_commands_total",
        "Commands that ended, over all sessions at a target.",
        *(*_TARGET, "direction"),
    ),
    counter(
        "scst_target_bytes_total",
        "Data of commands that ended, over all sessions at a target.",
        *(*_TARGET, "direction"),
    ),
    gauge(
        "scst_initiator_presence_ratio",
        "In which part of the hours like this one it was here, by the last 14 days.",
        *_INITIATOR,
    ),
    gauge("scst_initiator_expected", "Whether it usually is here at this hour.", *_INITIATOR),
    gauge("scst_iscsi_connections", "Connections.", *_INITIATOR, "state", "transport"),
    gauge("scst_iscsi_session_reinstating", "Whether it takes another's place.", *_SESSION),
    gauge("scst_device_kind", "What a device is.", "device", "handler", "kind"),
    gauge("scst_device_size_bytes", "Size of a device.", "device", unit="bytes"),
    gauge("scst_device_active", "Whether its file or block device is open.", "device"),
    gauge("scst_device_blocked", "How often it is blocked: over 0 its I/O waits.", "device"),
    gauge("scst_device_block_pending", "Blocks that wait for its commands to end.", "device"),
    gauge("scst_device_exports", "LUNs that show it.", "device"),
    gauge("scst_handler_devices", "Devices of a handler.", "handler"),
    gauge(
        "scst_handler_lost_devices",
        "Devices that a handler had in the last day, which is gone itself.",
        "handler",
    ),
    gauge(
        "scst_alua_state",
        "Which ALUA state a target group has.",
        *("device_group", "target_group", "state"),
    ),
)
"""Of the tree that is read at every look."""

_NEGOTIATED = {
    "HeaderDigest": "header_digest",
    "DataDigest": "data_digest",
    "InitialR2T": "initial_r2t",
    "ImmediateData": "immediate_data",
    "MaxOutstandingR2T": "max_outstanding_r2t",
    "MaxRecvDataSegmentLength": "max_recv_data_segment_length",
    "MaxXmitDataSegmentLength": "max_xmit_data_segment_length",
    "FirstBurstLength": "first_burst_length",
    "MaxBurstLength": "max_burst_length",
}

SLOW_FAMILIES = (
    gauge(
        "scst_device_info",
        "What a device is made of.",
        *("device", "handler", "filename", "t10_dev_id", "usn"),
        *("ro", "wt", "nv_cache", "thin", "o_direct"),
    ),
    gauge("scst_device_registrants", "Paths that are registered for reservations.", "device"),
    gauge(
        "scst_device_reservation",
        "Who has reserved a device persistently.",
        *("device", "type", "holder"),
    ),
    counter(
        "scst_device_reservation_changes_total",
        "Registrations and reservations that came or went.",
        "device",
    ),
    gauge("scst_iscsi_session_info", "What was negotiated.", *_SESSION, *_NEGOTIATED.values()),
    counter(
        "scst_session_dif_errors_total",
        "Errors of data integrity that a session had.",
        *(*_SESSION, "stage", "tag"),
    ),
    counter(
        "scst_initiator_dif_errors_total",
        "Errors of data integrity, over all sessions of an initiator.",
        *(*_INITIATOR, "stage", "tag"),
    ),
    gauge(
        "scst_command_age_seconds",
        "How long the oldest command to a LUN was under way, where it was over a second.",
        *(*_INITIATOR, "lun", "state"),
        unit="seconds",
    ),
    counter("scst_sgv_hits_total", "Allocations that a cache of memory served.", "cache"),
    counter("scst_sgv_allocations_total", "Allocations from a cache of memory.", "cache"),
    gauge("scst_sgv_cached_pages", "Pages that a cache holds.", "cache"),
    gauge("scst_sgv_inactive_pages", "Pages that the caches could give back."),
    counter(
        "scst_sysfs_eagain_total",
        "Attributes that said to ask again later: SCST is busy with management.",
        "attr_class",
    ),
    counter("scst_sysfs_read_seconds_bucket", "Reads that took so long.", "attr_class", "le"),
    counter("scst_sysfs_read_seconds_sum", "How long reads took, added up.", "attr_class"),
    counter("scst_sysfs_read_seconds_count", "Reads.", "attr_class"),
)
"""Of what is read every few minutes."""

BACKING_FAMILIES = (
    gauge(
        "scst_device_backing_present",
        "Whether the file or block device of a device is there.",
        *("device", "path"),
    ),
    gauge(
        "scst_device_backing_size_bytes",
        "How large it is.",
        *("device", "path"),
        unit="bytes",
    ),
    gauge(
        "scst_backing_disk",
        "The disk of the kernel's, device, that a device of SCST lies on.",
        *("device", "scst_device", "path"),
    ),
)

# SPC-4, 6.6.2.
_KINDS = {
    0: "disk",
    1: "tape",
    3: "processor",
    4: "worm",
    5: "cdrom",
    7: "optical",
    8: "changer",
    12: "raid",
    14: "disk",
}

# SCST's names of them; SPC-4, 5.15.2.4.
_ALUA_STATES = (*("active", "nonoptimized", "standby", "unavailable", "offline", "transitioning"),)

# qla2x00t and its like call a target as its port is called.
_WORLD_WIDE_NAME = re.compile(r"[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){7}")

Rows = dict[str, list[Row]]
K = TypeVar("K", bound=Hashable)


def tree_rows(scst: Scst, ledger: Ledger, memory: Memory, presence: Presence) -> Rows:
    """Return the rows of the tree that is read at every look, which the others know of."""
    rows: Rows = {family.name: [] for family in FAMILIES}
    rows["scst_info"] = [Row((scst.version, ",".join(scst.features)), 1.0)]
    for name, value, scale in (
        ("scst_suspended", scst.suspended, 1.0),
        ("scst_threads", scst.threads, 1.0),
        ("scst_poll_seconds", scst.poll_us, 1e-6),
        ("scst_management_pending", scst.is_management_pending, 1.0),
        ("scst_latency_measured", scst.measures_latency, 1.0),
    ):
        _add(rows, name, (), None if value is None else value * scale)
    _drivers(rows, scst, memory)
    for target in scst.exported():
        _target(rows, target)
        _sessions(rows, target, memory)
    for identity in memory.missed():
        _add(rows, "scst_session_up", _labels(identity), 0)
    for peer, ratio in presence.ratios.items():
        _add(rows, "scst_initiator_presence_ratio", peer, ratio)
        _add(rows, "scst_initiator_expected", peer, peer in presence.expected)
    _totals(rows, ledger)
    for device in scst.devices:
        if device.handler or device.exports:
            _device(rows, device)
    for name, count in devices_by_handler(scst).items():
        _add(rows, "scst_handler_devices", (name,), count)
    for name, count in memory.lost_handlers().items():
        _add(rows, "scst_handler_lost_devices", (name,), count)
    for group in scst.target_groups:
        if group.state:
            for state in dict.fromkeys((*_ALUA_STATES, group.state)):
                labels = (group.device_group, group.name, state)
                _add(rows, "scst_alua_state", labels, state == group.state)
    return rows


def devices_by_handler(scst: Scst) -> dict[str, int]:
    """Return how many devices each handler has."""
    found = dict.fromkeys(scst.handlers, 0)
    for device in scst.devices:
        if device.handler in found:
            found[device.handler] += 1
    return found


def slow_rows(scst: Scst, ledger: Ledger) -> Rows:
    """Return the rows of what is read every few minutes; the ledger is that of DIF errors."""
    rows: Rows = {family.name: [] for family in SLOW_FAMILIES}
    for device in scst.devices:
        if device.handler:
            flags = (
                *(device.is_read_only, device.is_write_through),
                *(device.has_nv_cache, device.is_thin, device.is_direct),
            )
            labels = (device.name, device.handler, device.filename or "")
            said = (device.t10_dev_id, device.usn, *map(_flag, flags))
            _add(rows, "scst_device_info", (*labels, *said), 1)
            _reservation(rows, device)
    for sessions in _by_identity(scst):
        session, identity = sessions[0], sessions[0].identity
        assert identity is not None
        if session.negotiated:
            values = (session.negotiated.get(name, "") for name in _NEGOTIATED)
            _add(rows, "scst_iscsi_session_info", (*_labels(identity), *values), 1)
        for key, count in _summed(one.dif_errors for one in sessions).items():
            _add(rows, "scst_session_dif_errors_total", (*_labels(identity), *key), count)
    for peer, totals in ledger.initiators.items():
        for key, total in totals.items():
            if key != LOGINS:
                _add(rows, "scst_initiator_dif_errors_total", (*peer, *key), total)
    _commands(rows, scst)
    for cache in scst.caches:
        _add(rows, "scst_sgv_hits_total", (cache.name,), cache.hits)
        _add(rows, "scst_sgv_allocations_total", (cache.name,), cache.allocations)
        _add(rows, "scst_sgv_cached_pages", (cache.name,), cache.cached_pages)
    _add(rows, "scst_sgv_inactive_pages", (), scst.inactive_pages)
    return rows


def backing_rows(path: str, devices: Iterable[str], facts: Mapping[str, Any]) -> Rows:
    """Return the rows of a path that devices lie at; the facts are those of `file.size`."""
    rows: Rows = {family.name: [] for family in BACKING_FAMILIES}
    is_there = facts["exists"] and facts["kind"] in ("file", "block")
    for device in devices:
        _add(rows, "scst_device_backing_present", (device, path), is_there)
        if is_there:
            _add(rows, "scst_device_backing_size_bytes", (device, path), facts["size"])
            if disk := facts.get("disk"):
                _add(rows, "scst_backing_disk", (disk, device, path), 1)
    return rows


def _drivers(rows: Rows, scst: Scst, memory: Memory) -> None:
    lost = memory.lost_targets()
    drivers = {one.name: one for one in scst.drivers if one.name != COPY_MANAGER}
    # A driver that was unloaded has lost all of its targets.
    for name in dict.fromkeys((*drivers, *lost)):
        driver = drivers.get(name, Driver(name))
        _add(rows, "scst_driver_open", (name,), driver.is_open)
        _add(rows, "scst_driver_targets", (name,), len(driver.targets))
        _add(rows, "scst_driver_lost_targets", (name,), lost[name])


def _target(rows: Rows, target: Target) -> None:
    one = (target.driver, target.name)
    _add(rows, "scst_target_enabled", one, target.is_enabled)
    relative = "" if target.relative_id is None else str(target.relative_id)
    _add(rows, "scst_target_info", (*one, relative, target.hardware, target.comment), 1)
    if _WORLD_WIDE_NAME.fullmatch(target.name):
        _add(rows, "scst_target_port", (*one, target.name.lower()), 1)
    _add(rows, "scst_target_luns", one, len(target.luns))
    _add(rows, "scst_target_groups", one, len(target.groups))
    _add(rows, "scst_target_sessions", one, len(target.sessions))
    _add(rows, "scst_target_black_hole", (*one, ""), target.black_hole)
    for group in target.groups:
        _add(rows, "scst_target_black_hole", (*one, group.name), group.black_hole)
    for direction, value in (
        ("any", target.is_forwarding),
        ("source", target.forwards_source),
        ("destination", target.forwards_destination),
    ):
        _add(rows, "scst_target_forwarding", (*one, direction), value)


def _sessions(rows: Rows, target: Target, memory: Memory) -> None:
    connections: dict[tuple[str, ...], int] = {}
    for sessions in _grouped(target.sessions):
        identity = sessions[0].identity
        assert identity is not None
        labels = _labels(identity)
        _add(rows, "scst_session_up", labels, 1)
        _add(rows, "scst_session_start_timestamp_seconds", labels, memory.began(identity))
        for family, counts, scale in (
            ("scst_session_commands_total", [one.counters.commands for one in sessions], 1.0),
            ("scst_session_bytes_total", [one.counters.kib for one in sessions], KIB),
            (
                "scst_session_unaligned_commands_total",
                [one.counters.unaligned for one in sessions],
                1.0,
            ),
        ):
            found = rows[family]
            for direction, count in _summed(counts).items():
                found.append(Row((*labels, direction), count * scale))
        outstanding = [one.outstanding for one in sessions if one.outstanding is not None]
        if outstanding:
            _add(rows, "scst_session_commands_outstanding", labels, sum(outstanding))
        devices = {lun.number: lun.device for lun in target.luns_of(sessions[0].group)}
        for lun, count in _summed(one.active for one in sessions).items():
            shown = (*labels, str(lun), devices.get(lun, ""))
            _add(rows, "scst_lun_commands_outstanding", shown, count)
        if sessions[0].is_reinstating is not None:
            is_reinstating = any(one.is_reinstating for one in sessions)
            _add(rows, "scst_iscsi_session_reinstating", labels, is_reinstating)
        for session in sessions:
            for connection in session.connections:
                state = "closing" if "closing" in connection.state.split() else "open"
                key = (*labels[:3], state, connection.transport)
                connections[key] = connections.get(key, 0) + 1
    for place, count in connections.items():
        _add(rows, "scst_iscsi_connections", place, count)


def _totals(rows: Rows, ledger: Ledger) -> None:
    for peer, totals in ledger.initiators.items():
        _add(rows, "scst_initiator_logins_total", peer, totals[LOGINS])
        _data(rows, "scst_initiator", peer, totals)
    for place, sums in ledger.targets.items():
        _data(rows, "scst_target", place, sums)


def _data(rows: Rows, name: str, labels: tuple[str, ...], totals: Mapping[Key, int]) -> None:
    for (what, direction), total in totals.items():
        if what == "commands":
            _add(rows, f"{name}_commands_total", (*labels, direction), total)
        elif what == "kib":
            _add(rows, f"{name}_bytes_total", (*labels, direction), total * KIB)


def _device(rows: Rows, device: Device) -> None:
    one = (device.name,)
    if device.type is not None:
        kind = _KINDS.get(device.type, str(device.type))
        _add(rows, "scst_device_kind", (device.name, device.handler, kind), 1)
    _add(rows, "scst_device_size_bytes", one, device.size_bytes)
    _add(rows, "scst_device_active", one, device.is_active)
    _add(rows, "scst_device_blocked", one, device.blocked)
    _add(rows, "scst_device_block_pending", one, device.block_pending)
    _add(rows, "scst_device_exports", one, device.exports)


def _reservation(rows: Rows, device: Device) -> None:
    known = device.reservation
    if known is not None:
        one = (device.name,)
        _add(rows, "scst_device_registrants", one, known.registrants)
        _add(rows, "scst_device_reservation_changes_total", one, known.generation)
        if known.type:
            _add(rows, "scst_device_reservation", (*one, known.type, known.holder), 1)


def _commands(rows: Rows, scst: Scst) -> None:
    oldest: dict[tuple[str, ...], int] = {}
    for command in scst.commands:
        place = (command.driver, command.target, command.initiator, str(command.lun))
        key = (*place, command.state)
        if command.age_s > oldest.get(key, 0):
            oldest[key] = command.age_s
    for labels, age_s in oldest.items():
        _add(rows, "scst_command_age_seconds", labels, age_s)


def _by_identity(scst: Scst) -> Iterable[list[Session]]:
    for target in scst.exported():
        yield from _grouped(target.sessions)


def _grouped(sessions: Iterable[Session]) -> Iterable[list[Session]]:
    """Return the sessions that are known, those together that nothing tells apart."""
    found: dict[Identity, list[Session]] = {}
    for session in sessions:
        if session.identity is not None:
            found.setdefault(session.identity, []).append(session)
    return found.values()


def _summed(counts: Iterable[Mapping[K, int]]) -> dict[K, int]:
    found: dict[K, int] = {}
    for one in counts:
        for key, count in one.items():
            found[key] = found.get(key, 0) + count
    return found


def _labels(identity: Identity) -> tuple[str, str, str, str]:
    return identity.driver, identity.target, identity.initiator, identity.sid


def _flag(value: bool | None) -> str:
    return "" if value is None else str(int(value))


def _add(rows: Rows, family: str, labels: tuple[str, ...], value: float | None) -> None:
    if value is not None:
        rows[family].append(Row(labels, float(value)))
