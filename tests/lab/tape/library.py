"""A tape library in a box: real tools talk to it, and it gets into every kind of trouble."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.tape.changer import LIBRARY_DOOR, Changer, Element
from lab.tape.device import Device
from lab.tape.drive import CLEAN_NOW, CLEAN_PERIODIC, Drive
from lab.tape.faults import Fault
from lab.tape.job import TapeJob
from lab.tape.machine import Machine
from lab.tape.media import Cartridge
from lab.tape.scsi import Status

MEDIUM_CHANGED = (0x28, 0x00)
MAIL_ACCESSED = (0x28, 0x01)
POWER_ON = (0x29, 0x00)
READ_ELEMENT_STATUS = 0xB8


class EmulatedLibrary:
    """A changer and its drives, on a machine of its own or on one that is given.

    Slots and mail slots are numbered from 1, drives from 0, as `mtx` numbers them; mail slots are
    numbered apart here. `changer` and `drives[i]` are the devices: their state may be set at will.
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        machine: Machine | None = None,
        # What it is made of.
        serial: str = "LABLIB0001",
        drives: int = 2,
        slots: int = 20,
        mail_slots: int = 2,
        filled: int = 12,
        has_barcodes: bool = True,
        first_addresses: tuple[int, int, int, int] = (1, 1001, 101, 257),
        without_response_page: Collection[int] = (),
        # How it is attached.
        can_queue: int = 64,
        driver: str = "mpt3sas",
    ) -> None:
        if (root is None) == (machine is None):
            raise ValueError("a library is at a root of its own or on a machine")
        self._is_owner = machine is None
        self.machine = machine or Machine(root or Path())
        prefix = serial[-4:]
        self.drives = [
            Drive(f"LABD{prefix}{i:02d}", has_response_page=i not in without_response_page)
            for i in range(drives)
        ]
        self.changer = Changer(
            serial,
            self.drives,
            slots=slots,
            mail_slots=mail_slots,
            first_addresses=first_addresses,
            has_barcodes=has_barcodes,
        )
        for i, element in enumerate(self.changer.slots[:filled], 1):
            element.held = Cartridge(f"LAB{i:03d}L8" if i < 1000 else f"L{i:05d}L8")
        self.host = self.machine.add_host(can_queue=can_queue, driver=driver)
        for target, device in enumerate((*self.drives, self.changer)):
            self.machine.add(device, self.host, target=target)

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
        """End the machine, where it is the library's own."""
        if self._is_owner:
            self.machine.close()

    @property
    def env(self) -> dict[str, str]:
        return self.machine.env

    @property
    def sysfs(self) -> Path:
        return self.machine.sysfs

    @property
    def dev(self) -> Path:
        return self.machine.dev

    @property
    def sg(self) -> str:
        """The changer's node."""
        return self.machine.node(self.changer)

    def drive_sg(self, drive: int) -> str:
        return self.machine.node(self.drives[drive])

    def drive_nst(self, drive: int) -> str:
        return self.machine.tape_node(self.drives[drive])

    def address(self, device: Device) -> str:
        """Return a device's SCSI address, H:C:T:L."""
        return str(self.machine.addresses[device])

    # Places and cartridges.

    def slot(self, number: int) -> Element:
        return self.changer.slots[number - 1]

    def mail(self, number: int = 1) -> Element:
        return self.changer.mail[number - 1]

    def bay(self, number: int) -> Element:
        return self.changer.drives[number]

    def load(self, slot: int, drive: int = 0) -> None:
        self._move(self.slot(slot), self.bay(drive))

    def unload(self, drive: int = 0, slot: int | None = None) -> None:
        """Carry a drive's cartridge to a slot: the one that it came from where none is named."""
        bay = self.bay(drive)
        if slot is not None:
            target = self.slot(slot)
        else:
            target = next(e for e in self.changer.slots if e.address == bay.source)
        self._move(bay, target)

    def move(self, source: int, target: int) -> None:
        """Carry a cartridge between slots."""
        self._move(self.slot(source), self.slot(target))

    def export_mail(self, slot: int, mail: int = 1) -> None:
        """Carry a cartridge to a mail slot."""
        self._move(self.slot(slot), self.mail(mail))

    def take_mail(self, mail: int = 1) -> Cartridge | None:
        """Have a person take what is in a mail slot."""
        with self.changer.lock:
            element = self.mail(mail)
            tape, element.held = element.held, None
            self.changer.unit_attentions.append(MAIL_ACCESSED)
        return tape

    def put_mail(self, tape: Cartridge, mail: int = 1) -> None:
        """Have a person put a cartridge into a mail slot."""
        with self.changer.lock:
            element = self.mail(mail)
            element.held, element.is_from_operator = tape, True
            self.changer.unit_attentions.append(MAIL_ACCESSED)

    def _move(self, source: Element, target: Element) -> None:
        with self.changer.lock:
            self.changer.move(source, target)

    @contextmanager
    def job(
        self,
        drive: int = 0,
        direction: str = "write",
        *,
        bytes_per_s: int = 160_000_000,
        program: str = "bareos-sd",
    ) -> Iterator[TapeJob]:
        """Have a backup program hold a drive, and write or read, meanwhile."""
        chosen = self.drives[drive]
        work = TapeJob(self.machine, chosen, direction, bytes_per_s=bytes_per_s, program=program)
        with work:
            yield work

    # Trouble.

    def door(self, *, open: bool) -> None:
        """Open or close the door: open, nothing moves; once closed, everything may be elsewhere."""
        with self.changer.lock:
            self.changer.is_door_open = open
            if open:
                self.changer.flags.add(LIBRARY_DOOR)
            else:
                self.changer.flags.discard(LIBRARY_DOOR)
                self.changer.unit_attentions.append(MEDIUM_CHANGED)

    def cleaning(self, drive: int = 0, *, is_urgent: bool = True) -> None:
        """Have a drive ask to be cleaned, until a cleaning cartridge is loaded."""
        chosen = self.drives[drive]
        with chosen.lock:
            chosen.is_cleaning_required |= is_urgent
            chosen.is_cleaning_requested |= not is_urgent
            chosen.flags.add(CLEAN_NOW if is_urgent else CLEAN_PERIODIC)

    def set_tapealert(self, device: Device, *flags: int) -> None:
        """Raise exactly these flags."""
        with device.lock:
            device.flags = set(flags)

    def element_exception(self, element: Element, code: int = 0x83, qualifier: int = 0x00) -> None:
        """Have an element be in an abnormal state."""
        with self.changer.lock:
            element.exception = (code, qualifier)

    def unit_attention(self, device: Device, code: int = 0x29, qualifier: int = 0x00) -> None:
        """Have a unit attention wait for whoever asks next."""
        with device.lock:
            device.unit_attentions.append((code, qualifier))

    def reserve_elsewhere(self, device: Device, *, is_reserved: bool = True) -> None:
        """Have another machine reserve a device, or let it go."""
        with device.lock:
            device.is_reserved_elsewhere = is_reserved

    def busy(self, device: Device, *, count: int | None = None) -> None:
        """Have a device answer BUSY: some times, or until `release`."""
        self.fault(device, status=Status.BUSY, count=count)

    def fault(self, device: Device, **words: object) -> Fault:
        """Have a device misbehave in any way that `Fault` names, until `release`."""
        return self.machine.fault(device, Fault(**words))  # type: ignore[arg-type]

    def hang(self, device: Device, *, opcode: int | None = None, unkillable: bool = False) -> None:
        """Have a device answer nothing until `release`; see Machine.hang."""
        self.machine.hang(device, opcode=opcode, unkillable=unkillable)

    def release(self, device: Device) -> None:
        """End every fault of a device."""
        self.machine.clear(device)

    def set_state(self, device: Device, state: str) -> None:
        """Have the kernel show a device in a state, such as `offline` or `blocked`."""
        self.machine.tree.set_state(device, state)

    def vanish(self, device: Device | None = None) -> None:
        """Take a device from the bus, or all of them."""
        for each in self._devices(device):
            self.machine.disappear(each)

    def come_back(self, device: Device | None = None, *, sg: int | None = None) -> None:
        """Put a device back that vanished, or all; under another node number where one is given."""
        for each in self._devices(device):
            self.machine.appear(each, sg=sg)
            self.unit_attention(each, *POWER_ON)

    def swap_drive(self, drive: int, serial: str) -> None:
        """Exchange a drive for another one of the same make, in the same bay."""
        old = self.drives[drive]
        self.machine.disappear(old)
        with old.lock:
            old.serial = serial
            old.loads = old.power_on_hours = old.cleanings = 0
        self.come_back(old)

    def corrupt_inventory(
        self, *, empty: bool = True, tagless: bool = False, cut_at: int | None = None
    ) -> None:
        """Have reads of the inventory fail and say GOOD: everything looks empty, nothing has a
        tag, or the answer ends early."""
        with self.changer.lock:
            self.changer.shows_empty, self.changer.shows_no_tags = empty, tagless
        if cut_at is not None:
            self.fault(self.changer, opcode=READ_ELEMENT_STATUS, truncate=cut_at)

    def wrong_counts(self, extra: int) -> None:
        """Have the inventory's head claim more elements than follow, or fewer."""
        with self.changer.lock:
            self.changer.extra_elements = extra

    def mend_inventory(self) -> None:
        """End what `corrupt_inventory` and `wrong_counts` began."""
        with self.changer.lock:
            self.changer.shows_empty = self.changer.shows_no_tags = False
            self.changer.extra_elements = 0
        self.release(self.changer)

    def sees(self, device: Device, opcode: int) -> list[bytes]:
        """Return the CDBs of a kind that a device was asked."""
        with device.lock:
            return [cdb for cdb in device.seen if cdb[0] == opcode]

    def _devices(self, device: Device | None) -> list[Device]:
        return [device] if device else [*self.drives, self.changer]
