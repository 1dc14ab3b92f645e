"""What a machine with SCSI devices has for programs: nodes, sysfs, the environment of tools."""

import errno
import os
import shutil
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.dstate import HangingMount
from lab.memory import memory_directory
from lab.tape.device import Device
from lab.tape.faults import Fault
from lab.tape.host import Host
from lab.tape.server import Node, Server
from lab.tape.shim import built
from lab.tape.sysfs import Address, SysfsTree


class Machine:
    """A context manager over a directory of its own, with `dev` in it; `sysfs` is in memory, and
    gone when the machine is closed.

    The emulator is a thread of this process. Where it is told to, it counts who has nodes open, as
    the modules of a kernel do: tools through the shim, and jobs, but not who opens a node's file by
    itself.
    """

    def __init__(self, root: Path, *, counts_open: bool = False) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self.dev = root / "dev"
        self.dev.mkdir()
        # In memory, where many small files are cheap; and a socket's path has to be short.
        self._fast = memory_directory()
        self.sysfs = self._fast / "sys"
        self.tree = SysfsTree(self.sysfs)
        self.shim = built()
        self.map = root / "map"
        self.server = Server(self._fast / "sg")
        self.hosts: dict[int, Host] = {}
        self.addresses: dict[Device, Address] = {}
        self._lock = threading.RLock()
        self._open: dict[str, int] | None = None
        if counts_open:
            self._open = dict.fromkeys(("sg", "st", "ch"), 0)
            self.tree.show_open_counts(self._open)
            self.server.count = self.count_open
        self._stuck: HangingMount | None = None
        self._write_map()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let everything go that waits, and end. A second call changes nothing."""
        for device in self.addresses:
            self.clear(device)
        for host in self.hosts.values():
            host.close()
        if self._stuck:
            self._stuck.__exit__(None, None, None)
            self._stuck = None
        if self.server.path.exists():
            self.server.stop()
            shutil.rmtree(self._fast)

    @property
    def env(self) -> dict[str, str]:
        """The environment in which real tools find the devices."""
        return {**os.environ, "LD_PRELOAD": str(self.shim), "SGSHIM_MAP": str(self.map)}

    def add_host(self, *, can_queue: int = 64, driver: str = "mpt3sas") -> Host:
        host = Host(len(self.hosts) + 2, can_queue=can_queue, driver=driver)
        self.hosts[host.number] = host
        self.tree.add_host(host)
        return host

    def add(self, device: Device, host: Host, *, target: int) -> None:
        """Attach a device."""
        taken = self.addresses.values()
        is_changer = device.kind == 8
        address = Address(
            host.number,
            target,
            sg=1 + max((a.sg for a in taken), default=-1),
            tape=None if is_changer else sum(a.tape is not None for a in taken),
            changer=sum(a.changer is not None for a in taken) if is_changer else None,
        )
        device.host = host
        self.addresses[device] = address
        self.appear(device)

    def appear(self, device: Device, *, sg: int | None = None) -> None:
        """Have an attached device come, or come back: with its node's number or with another."""
        address = self.addresses[device]
        with self._lock:
            if sg is not None:
                address.sg = sg
            self.tree.add(device, address)
            device.on_change = lambda: self._show(device)
            for name in self._names(address):
                (self.dev / name).touch()
                node = Node(device)
                self.server.nodes[str(self.dev / name)] = node
                self.server.nodes[f"/dev/{name}"] = node
            self._write_map()
            self._show(device)

    def disappear(self, device: Device) -> None:
        """Take a device away: its nodes go, and who has one open gets ENODEV."""
        with self._lock:
            device.on_change = lambda: None
            self.tree.remove(device)
            for name in self._names(self.addresses[device]):
                (self.dev / name).unlink()
                del self.server.nodes[str(self.dev / name)]
                del self.server.nodes[f"/dev/{name}"]
            self._write_map()
            self.server.change()

    def is_here(self, device: Device) -> bool:
        return self.tree.shown(device) is not None

    def node(self, device: Device) -> str:
        """Return the path of a device's sg node."""
        return str(self.dev / f"sg{self.addresses[device].sg}")

    def tape_node(self, device: Device) -> str:
        """Return the path of a drive's non-rewinding node."""
        return str(self.dev / f"nst{self.addresses[device].tape}")

    def refuse(self, device: Device, code: int) -> None:
        """Have open(2) of a device's sg node fail with an errno; with 0 no more."""
        self.server.nodes[self.node(device)].refusal = code

    def fault(self, device: Device, fault: Fault) -> Fault:
        """Have a device misbehave until it is cleared."""
        with device.lock:
            device.faults.insert(0, fault)
        return fault

    def show_open(self, device: Device, *, is_open: bool) -> None:
        """Have a drive's tape nodes be open, by one program as st has it, or free."""
        for name in self._names(self.addresses[device])[1:]:
            node = self.server.nodes.get(str(self.dev / name))
            if node:
                node.refusal = errno.EBUSY if is_open else 0

    def count_open(self, path: str, step: int) -> None:
        """Have a module's count go up or down by a node that is opened, or closed."""
        name = path.rpartition("/")[2]
        driver = "sg" if name.startswith("sg") else "ch" if name.startswith("sch") else "st"
        with self._lock:
            if self._open is not None:
                self._open[driver] += 2 * step  # of the file, and of the character device
                self.tree.show_open_counts(self._open)

    def hang(self, device: Device, *, opcode: int | None = None, unkillable: bool = False) -> None:
        """Answer nothing. Unkillable: who asks waits in the kernel, where SIGKILL does not reach;
        that needs root."""
        fault = Fault(opcode=opcode, hangs=True)
        if unkillable:
            if self._stuck is None:
                self._stuck = HangingMount(self.root / "stuck").__enter__()
            self._stuck.hang()
            fault.stuck_path = str(self.root / "stuck" / f"sg{self.addresses[device].sg}")
        self.fault(device, fault)

    @property
    def holds_somebody(self) -> bool:
        """Whether somebody is blocked in the kernel, by an unkillable hang."""
        return self._stuck is not None and self._stuck.held.is_set()

    def clear(self, device: Device) -> None:
        """End a device's faults, and let go what waits."""
        with device.lock:
            ended, device.faults = device.faults, []
        for fault in ended:
            fault.over.set()
        # Whoever is blocked on one device's account is blocked in the same place as all others.
        if self._stuck and not any(f.stuck_path for d in self.addresses for f in d.faults):
            self._stuck.release()

    def show_statistics(self, device: Device) -> None:
        """Show in sysfs what the st driver has counted."""
        with self._lock:
            self.tree.show_statistics(device)

    def _names(self, address: Address) -> list[str]:
        names = [f"sg{address.sg}"]
        if address.tape is not None:
            names += [f"st{address.tape}", f"nst{address.tape}"]
        return names

    def _show(self, device: Device) -> None:
        with self._lock:
            self.tree.show_counts(device)
            self.tree.show_busy(device.host)

    def _write_map(self) -> None:
        draft = self.map.with_suffix(".draft")
        draft.write_text(
            "".join(f"{path} unix:{self.server.path}\n" for path in sorted(self.server.nodes))
        )
        draft.replace(self.map)
