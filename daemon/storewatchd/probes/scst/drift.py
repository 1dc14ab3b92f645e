"""Compares what SCST does with what scst.conf says: what the next start would change. Pure."""

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

from storewatchd.probes.scst.model import Lun, Scst, Target
from storewatchd.probes.scst.saved import Saved, SavedTarget

KINDS = ("device", "filename", "target", "enabled", "group", "initiator", "lun")

_ISCSI = "iscsi"
_UNSTABLE = re.compile(
    r"/dev/(?:sd[a-z]+[0-9]*|sg[0-9]+|n?st[0-9]+[a-z]?|sch[0-9]+|sr[0-9]+|vd[a-z]+[0-9]*"
    r"|nvme[0-9]+n[0-9]+(?:p[0-9]+)?|dm-[0-9]+|loop[0-9]+)"
)


class Change(StrEnum):
    """What the next start does to something."""

    VANISHES = "vanishes"  # it is there and not saved
    RETURNS = "returns"  # it is saved and not there
    CHANGES = "changes"


class Drift(NamedTuple):
    """One difference: of which kind, in what, and what becomes of it."""

    kind: str
    name: str
    change: Change


def drifts(live: Scst, rarely: Scst, saved: Saved) -> list[Drift]:
    """Return the differences, those of devices first. `rarely` knows the files of devices, as they
    were a few minutes ago, and `live` all the rest; of a file that it does not know nothing is
    said."""
    found = list(_device_drifts(live, rarely, saved))
    targets = {
        (target.driver, target.name): target
        for target in live.exported()
        if (target.driver, target.name) in saved.targets or not _comes_by_itself(target)
    }
    for place in sorted(targets.keys() | saved.targets.keys()):
        name = "/".join(place)
        target, wanted = targets.get(place), saved.targets.get(place)
        if target is None:
            found.append(Drift("target", name, Change.RETURNS))
        elif wanted is None:
            found.append(Drift("target", name, Change.VANISHES))
        else:
            found += _target_drifts(name, target, wanted)
    return found


def unstable(rarely: Scst, saved: Saved) -> dict[str, str]:
    """Return the devices whose data are at a name that another disk may have after a start, and
    that name, as they are saved, or as they are where they are not saved."""
    paths = {one.name: one.filename or "" for one in rarely.devices}
    paths |= {name: one.filename for name, one in saved.devices.items()}
    return {name: path for name, path in sorted(paths.items()) if _UNSTABLE.fullmatch(path)}


def _comes_by_itself(target: Target) -> bool:
    """Whether a target comes with its hardware or module, and has nothing that could vanish."""
    return target.driver != _ISCSI and not (target.luns or target.groups)


def _device_drifts(live: Scst, rarely: Scst, saved: Saved) -> Iterator[Drift]:
    # Without a handler it is a local SCSI device that nobody exports.
    devices = {one.name: one for one in live.devices if one.handler}
    files = {one.name: one.filename for one in rarely.devices}
    for name in sorted(devices.keys() | saved.devices.keys()):
        device, wanted = devices.get(name), saved.devices.get(name)
        if device is None:
            yield Drift("device", name, Change.RETURNS)
        elif wanted is None:
            yield Drift("device", name, Change.VANISHES)
        elif device.handler != wanted.handler:
            yield Drift("device", name, Change.CHANGES)
        elif files.get(name) not in (None, wanted.filename):
            yield Drift("filename", name, Change.CHANGES)


def _target_drifts(name: str, target: Target, wanted: SavedTarget) -> Iterator[Drift]:
    if None not in (target.is_enabled, wanted.is_enabled) and (
        target.is_enabled != wanted.is_enabled
    ):
        yield Drift("enabled", name, Change.CHANGES)
    yield from _lun_drifts(name, target.luns, wanted.luns)
    groups = {one.name: one for one in target.groups}
    for group in sorted(groups.keys() | wanted.groups.keys()):
        place = f"{name}/{group}"
        if group not in groups:
            yield Drift("group", place, Change.RETURNS)
        elif group not in wanted.groups:
            yield Drift("group", place, Change.VANISHES)
        else:
            saved = wanted.groups[group]
            yield from _lun_drifts(place, groups[group].luns, saved.luns)
            for one in sorted(saved.initiators.symmetric_difference(groups[group].initiators)):
                change = Change.RETURNS if one in saved.initiators else Change.VANISHES
                yield Drift("initiator", f"{place}/{one}", change)


def _lun_drifts(place: str, live: tuple[Lun, ...], saved: Mapping[int, str]) -> Iterator[Drift]:
    devices = {one.number: one.device for one in live}
    for number in sorted(devices.keys() | saved.keys()):
        name = f"{place}/{number}"
        if number not in devices:
            yield Drift("lun", name, Change.RETURNS)
        elif number not in saved:
            yield Drift("lun", name, Change.VANISHES)
        elif devices[number] and devices[number] != saved[number]:
            yield Drift("lun", name, Change.CHANGES)
