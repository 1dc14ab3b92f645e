"""SCSI tape devices of this machine, by serial number; from the reader's row `sys.scsi`.

`/dev/sgN` and `H:C:T:L` change from boot to boot; a serial number (VPD page 80h) does not. Linux
shows that page in sysfs; of a device where it does not, it is asked once.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from storewatchd.core.frames import ObjectKind, Scope
from storewatchd.errors import Malformed, ProbeAbsent, ProbeDeferred, ProbeError, ProbeFailed
from storewatchd.port import Port
from storewatchd.probes.tape.asking import Asker
from storewatchd.scsi.inquiry import CHANGER, TAPE, parse_serial

Attributes = Mapping[str, bytes | int]

SCSI_TREE = "sys.scsi"
_DEVICE = re.compile(r"scsi_device/(?P<address>[0-9:]+)/device/(?P<rest>.+)", re.DOTALL)
_STATISTIC = re.compile(r"scsi_tape/(?P<tape>[^/]+)/stats/(?P<name>.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ScsiDevice:
    """A tape drive or a library as the kernel has it. `serial` is None while it is not known, and
    "" where the device has none; nodes are names, "" where there is none."""

    address: str
    device_type: int
    vendor: str
    product: str
    revision: str
    state: str
    serial: str | None
    sg: str
    tape: str = ""
    changer: str = ""
    statistics: Mapping[str, int] = field(default_factory=dict)

    @property
    def identity(self) -> str | None:
        """What tells it apart: its serial number, or else what it is and where."""
        if self.serial == "":
            return f"{self.vendor} {self.product} at {self.address}"
        return self.serial

    def is_at(self, name: str) -> bool:
        """Return whether a name is that of one of its nodes, with or without /dev/, or its
        address."""
        node = name.removeprefix("/dev/")
        # Every st node has three siblings of other modes, each with one that does not rewind.
        tape = re.fullmatch(r"n?(st\d+)[alm]?", node)
        known = (self.sg, self.changer, self.address)
        return bool(node) and (node in known or (tape is not None and tape[1] == self.tape))


def parse_devices(attributes: Attributes) -> list[ScsiDevice]:
    """Return the tape drives and libraries in `/sys/class/scsi_device`."""
    found: dict[str, dict[str, bytes | int]] = {}
    statistics: dict[str, dict[str, int]] = {}
    for path, content in attributes.items():
        if match := _DEVICE.fullmatch(path):
            found.setdefault(match["address"], {})[match["rest"]] = content
        elif match := _STATISTIC.fullmatch(path):
            text = _text(content)
            if text.isdecimal():
                statistics.setdefault(match["tape"], {})[match["name"]] = int(text)
    return [
        device
        for address, facts in found.items()
        if (device := _device(address, facts, statistics)) is not None
    ]


def _device(
    address: str,
    facts: Mapping[str, bytes | int],
    statistics: Mapping[str, Mapping[str, int]],
) -> ScsiDevice | None:
    if _text(facts.get("type")) not in (str(TAPE), str(CHANGER)):
        return None
    tape = next((name for name in _nodes(facts, "scsi_tape") if re.fullmatch(r"st\d+", name)), "")
    return ScsiDevice(
        address=address,
        device_type=int(_text(facts["type"])),
        vendor=_text(facts.get("vendor")),
        product=_text(facts.get("model")),
        revision=_text(facts.get("rev")),
        state=_text(facts.get("state")),
        serial=_serial(facts.get("vpd_pg80")),
        sg=next(iter(_nodes(facts, "scsi_generic")), ""),
        tape=tape,
        changer=next(iter(_nodes(facts, "scsi_changer")), ""),
        statistics=statistics.get(tape, {}),
    )


def _nodes(facts: Mapping[str, bytes | int], kind: str) -> list[str]:
    return sorted(
        path.split("/")[1] for path in facts if path.startswith(f"{kind}/") and path.endswith("/")
    )


def _serial(content: bytes | int | None) -> str | None:
    if not isinstance(content, bytes) or not content:
        return None
    try:
        return parse_serial(content)
    except Malformed:
        return None


def _text(content: bytes | int | None) -> str:
    return content.decode(errors="replace").strip() if isinstance(content, bytes) else ""


class Devices:
    """The devices of one type, found anew at each look. One that was there is remembered: that it
    is not there any more is not the same as that it never was."""

    def __init__(self, device_type: int, label: str) -> None:
        self._type = device_type
        self._label = label
        self._asked: dict[tuple[str, str, str, str], str] = {}
        self._known: dict[str, None] = {}  # identities, in the order of their first sight

    def to_plain(self) -> object:
        """Return the identities of the devices that were there."""
        return list(self._known)

    def restore(self, kept: object) -> None:
        """Take back what `to_plain` said."""
        if isinstance(kept, list):
            self._known |= dict.fromkeys(one for one in kept if isinstance(one, str))

    def forget(self, identity: str) -> bool:
        """Remember a device no more; return whether it was remembered."""
        if identity not in self._known:
            return False
        del self._known[identity]
        return True

    async def scopes(self, port: Port, probe: str) -> tuple[Scope, ...]:
        """Return the scopes of a probe: every device that is there, or was.

        Raises:
            ProbeError: sysfs cannot be read.
        """
        for device in await self.read(port):
            self._known[device.identity or ""] = None
        return tuple(Scope(probe, ((self._label, identity),)) for identity in self._known)

    async def read(self, port: Port) -> list[ScsiDevice]:
        """Return the devices that can be told apart; who has no serial number in sysfs is asked
        for it, when it is idle.

        Raises:
            ProbeError: sysfs cannot be read.
        """
        attributes = (await port.read(SCSI_TREE)).value
        found = []
        for device in parse_devices(attributes):
            if device.device_type != self._type:
                continue
            known = device if device.serial is not None else await self._identified(port, device)
            if known is not None:
                found.append(known)
        return found

    async def find(self, port: Port, scope: Scope) -> ScsiDevice:
        """Return the device of a scope.

        Raises:
            ProbeAbsent: it is not connected.
            ProbeError: sysfs cannot be read.
        """
        wanted = dict(scope.labels)[self._label]
        for device in await self.read(port):
            if device.identity == wanted:
                return device
        raise ProbeAbsent(f"{wanted} is not connected")

    async def find_again(self, port: Port, scope: Scope) -> ScsiDevice:
        """Return the device of a scope, for who is not the one to tell that it is gone.

        Raises:
            ProbeDeferred: it is not connected, which other probes tell.
            ProbeError: sysfs cannot be read.
        """
        try:
            return await self.find(port, scope)
        except ProbeAbsent as error:
            raise ProbeDeferred(error.reason) from error

    async def _identified(self, port: Port, device: ScsiDevice) -> ScsiDevice | None:
        """Return a device with the serial number that it tells, None while it tells none."""
        key = (device.address, device.vendor, device.product, device.revision)
        if key not in self._asked:
            try:
                self._asked[key] = await _asked_serial(port, device.address)
            except ProbeError:
                return None  # it is busy, or hangs; a later look asks again
        return replace(device, serial=self._asked[key])


class DeviceProbe:
    """A probe with a scope for each device of a kind that is there, or was and was not forgotten by
    a person."""

    name: str
    looks_together = False
    """To be set where no command is sent: sysfs tells of all devices at once."""

    def __init__(self, kind: ObjectKind) -> None:
        self._kind = kind
        self._devices = Devices(*_KINDS[kind])

    def to_plain(self) -> object:
        return self._devices.to_plain()

    def restore(self, kept: object) -> None:
        self._devices.restore(kept)

    def forget(self, kind: ObjectKind, object_id: str) -> bool:
        return kind is self._kind and self._devices.forget(object_id)

    async def discover(self, port: Port) -> tuple[Scope, ...]:
        return await self._devices.scopes(port, self.name)


_KINDS = {
    ObjectKind.TAPE_LIBRARY: (CHANGER, "library"),
    ObjectKind.TAPE_DRIVE: (TAPE, "drive"),
}


async def _asked_serial(port: Port, address: str) -> str:
    answer = await Asker(port, address).ask("scsi.serial")
    try:
        return parse_serial(answer)
    except Malformed as error:
        raise ProbeFailed(str(error)) from error
