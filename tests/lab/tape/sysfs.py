"""What the kernel shows of SCSI hosts, changers and drives, below a directory of our own.

The layout is that of Linux 6.1: directories below `devices`, links to them below `class` and
`bus/scsi/devices`. The eight nodes of a tape drive share one set of statistics, as they do there.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lab.tape.device import Device
from lab.tape.drive import Drive
from lab.tape.host import Host

_PCI = "devices/pci0000:00/0000:00:1f.0"
_CLASSES = ("scsi_host", "scsi_device", "scsi_generic", "scsi_tape", "scsi_changer")
# Of st(4): four modes, each with rewinding and without; and their minor numbers.
_TAPE_NODES = {
    f"{prefix}st{{}}{mode}": base + offset
    for prefix, base in (("", 0), ("n", 128))
    for mode, offset in (("", 0), ("l", 32), ("m", 64), ("a", 96))
}
_STATISTICS = (
    *("in_flight", "io_ns", "other_cnt", "read_byte_cnt", "read_cnt", "read_ns"),
    *("resid_cnt", "write_byte_cnt", "write_cnt", "write_ns"),
)


@dataclass
class Address:
    """Where a device is: its SCSI address and the numbers of its nodes."""

    host: int
    target: int
    sg: int
    tape: int | None = None  # of st; None for a changer
    changer: int | None = None  # of sch
    channel: int = 0
    lun: int = 0

    def __str__(self) -> str:
        return f"{self.host}:{self.channel}:{self.target}:{self.lun}"


@dataclass
class TapeStatistics:
    """What the st driver counts; the counter files have no newline."""

    in_flight: int = 0
    io_ns: int = 0
    other_cnt: int = 2
    read_byte_cnt: int = 0
    read_cnt: int = 0
    read_ns: int = 0
    resid_cnt: int = 0
    write_byte_cnt: int = 0
    write_cnt: int = 0
    write_ns: int = 0


@dataclass
class Shown:
    """A device that is shown."""

    address: Address
    path: Path
    statistics: TapeStatistics = field(default_factory=TapeStatistics)
    links: list[Path] = field(default_factory=list)


class SysfsTree:
    def __init__(self, root: Path) -> None:
        self.root = root
        self._drafts = root.with_name(f"{root.name}.drafts")
        self._shown: dict[Device, Shown] = {}
        for name in ("bus/scsi/devices", "bus/scsi/drivers", "module", "class/scsi_disk"):
            (root / name).mkdir(parents=True)
        for name in _CLASSES:
            (root / "class" / name).mkdir(parents=True)
        self._drafts.mkdir()

    def show_open_counts(self, counts: Mapping[str, int]) -> None:
        """Show how often each module is in use."""
        for driver, count in counts.items():
            (self.root / "module" / driver).mkdir(exist_ok=True)
            self._replace(self.root / "module" / driver / "refcnt", f"{count}\n".encode())

    def add_host(self, host: Host) -> Path:
        """Show a host; return its attributes' directory."""
        name = f"host{host.number}"
        path = self.root / _PCI / name / "scsi_host" / name
        path.mkdir(parents=True)
        attributes = {
            "active_mode": "Initiator",
            "supported_mode": "Initiator",
            "state": "running",
            "can_queue": str(host.can_queue),
            "cmd_per_lun": "1",
            "host_busy": "0",
            "proc_name": host.driver,
            "nr_hw_queues": "1",
            "unique_id": "0",
            "eh_deadline": "off",
            "sg_tablesize": "128",
            "use_blk_mq": "1",
        }
        self._fill(path, attributes)
        (path / "device").symlink_to(f"../../../{name}")
        self._link(path / "subsystem", self.root / "class/scsi_host")
        self._link(self.root / "class/scsi_host" / name, path)
        self._link(self.root / "bus/scsi/devices" / name, path.parent.parent)
        return path

    def remove_host(self, host: Host) -> None:
        """Show a host no more, nor what is on it."""
        name = f"host{host.number}"
        for device in [d for d, shown in self._shown.items() if shown.address.host == host.number]:
            self.remove(device)
        for group in ("class/scsi_host", "bus/scsi/devices"):
            (self.root / group / name).unlink()
        shutil.rmtree(self.root / _PCI / name)

    def show_busy(self, host: Host) -> None:
        name = f"host{host.number}"
        path = self.root / _PCI / name / "scsi_host" / name / "host_busy"
        if path.exists():
            self._replace(path, f"{host.busy}\n".encode())

    def add(self, device: Device, address: Address) -> Shown:
        """Show a device."""
        target = f"target{address.host}:{address.channel}:{address.target}"
        path = self.root / _PCI / f"host{address.host}" / target / str(address)
        path.mkdir(parents=True)
        shown = Shown(address, path)
        driver = "st" if isinstance(device, Drive) else "ch"
        modalias = f"scsi:t-0x{device.kind:02x}"
        self._fill(
            path,
            {
                "vendor": f"{device.vendor:8}",
                "model": f"{device.product:16}",
                "rev": f"{device.revision:4}",
                "type": str(device.kind),
                "scsi_level": "7",
                "state": "running",
                "timeout": "900",
                "eh_timeout": "10",
                "queue_depth": "1",
                "queue_type": "simple",
                "device_blocked": "0",
                "device_busy": "0",
                "iocounterbits": "32",
                "iorequest_cnt": "0x0",
                "iodone_cnt": "0x0",
                "ioerr_cnt": "0x0",
                "iotmo_cnt": "0x0",
                "evt_media_change": "0",
                "modalias": modalias,
                "wwid": f"naa.{device.world_wide_name.hex()}",
                "uevent": f"DEVTYPE=scsi_device\nDRIVER={driver}\nMODALIAS={modalias}",
            },
        )
        (path / "inquiry").write_bytes(device.standard_inquiry())
        for page in (0x00, 0x80, 0x83, 0xB0, 0xB1):
            content = device.vital_page(page)
            if content is not None:
                (path / f"vpd_pg{page:x}").write_bytes(content)
        self._link(path / "subsystem", self.root / "bus/scsi")
        (self.root / "bus/scsi/drivers" / driver).mkdir(exist_ok=True)
        self._link(path / "driver", self.root / "bus/scsi/drivers" / driver)
        shown.links.append(self._link(self.root / "bus/scsi/devices" / str(address), path))
        self._add_class(shown, "scsi_device", str(address), "")
        self._add_class(shown, "scsi_generic", f"sg{address.sg}", f"21:{address.sg}")
        self._link(path / "generic", path / "scsi_generic" / f"sg{address.sg}")
        if address.changer is not None:
            name = f"sch{address.changer}"
            self._add_class(shown, "scsi_changer", name, f"86:{address.changer}")
            self._link(path / "changer", path / "scsi_changer" / name)
        if address.tape is not None:
            self._add_tape(shown, address.tape)
        self._shown[device] = shown
        return shown

    def remove(self, device: Device) -> None:
        """Show a device no more."""
        shown = self._shown.pop(device)
        for link in shown.links:
            link.unlink()
        shutil.rmtree(shown.path)

    def shown(self, device: Device) -> Shown | None:
        return self._shown.get(device)

    def set_state(self, device: Device, state: str) -> None:
        """Change the state, such as `running`, `offline`, `blocked` or `transport-offline`."""
        self.set(device, "state", f"{state}\n".encode())

    def set(self, device: Device, name: str, content: bytes) -> None:
        self._replace(self._shown[device].path / name, content)

    def show_counts(self, device: Device) -> None:
        """Show how many commands a device has taken, done and failed."""
        shown = self._shown.get(device)
        if shown is None:
            return
        counts = {
            "iorequest_cnt": device.requested,
            "iodone_cnt": device.done,
            "ioerr_cnt": device.failed,
        }
        for name, count in counts.items():
            _overwrite(shown.path / name, f"{count:#x}\n".encode())

    def show_statistics(self, device: Device) -> None:
        """Show what the st driver has counted."""
        shown = self._shown.get(device)
        if shown is None:
            return
        directory = shown.path / "scsi_tape" / f"st{shown.address.tape}" / "stats"
        for name in _STATISTICS:
            _overwrite(directory / name, str(getattr(shown.statistics, name)).encode())

    def _add_class(self, shown: Shown, group: str, name: str, number: str) -> Path:
        path = shown.path / group / name
        path.mkdir(parents=True)
        (path / "device").symlink_to(f"../../../{shown.path.name}")
        self._link(path / "subsystem", self.root / "class" / group)
        uevent = ""
        if number:
            (path / "dev").write_text(f"{number}\n")
            major, _, minor = number.partition(":")
            uevent = f"MAJOR={major}\nMINOR={minor}\nDEVNAME={name}\n"
        (path / "uevent").write_text(uevent)
        shown.links.append(self._link(self.root / "class" / group / name, path))
        return path

    def _add_tape(self, shown: Shown, number: int) -> None:
        first: Path | None = None
        for pattern, minor in _TAPE_NODES.items():
            path = self._add_class(
                shown, "scsi_tape", pattern.format(number), f"9:{minor + number}"
            )
            self._fill(
                path,
                {
                    "default_blksize": "-1",
                    "default_compression": "-1",
                    "default_density": "-1",
                    "options": "0x00000107",
                    "defined": str(int(pattern in ("st{}", "nst{}"))),
                },
            )
            (path / "stats").mkdir()
            for name in _STATISTICS:
                if first is None:
                    value = str(getattr(shown.statistics, name))
                    (path / "stats" / name).write_text(value)
                else:
                    os.link(first / "stats" / name, path / "stats" / name)
            first = first or path
        self._link(shown.path / "tape", shown.path / "scsi_tape" / f"st{number}")

    def _fill(self, directory: Path, attributes: Mapping[str, str]) -> None:
        for name, value in attributes.items():
            (directory / name).write_text(f"{value}\n")

    def _link(self, link: Path, target: Path) -> Path:
        link.symlink_to(os.path.relpath(target, link.parent))
        return link

    def _replace(self, path: Path, content: bytes) -> None:
        """Change an attribute at once: nobody reads half of it."""
        draft = self._drafts / path.name
        draft.write_bytes(content)
        draft.replace(path)


def _overwrite(path: Path, content: bytes) -> None:
    """Change a counter, whose text never gets shorter, in place: it may be linked."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(descriptor, content, 0)
    finally:
        os.close(descriptor)
