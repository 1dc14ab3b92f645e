"""Hears what the kernel tells at once, and has those probes look whose facts it touches.

The schedule is the safety net, and this the detector: a uevent of a device, a line of the kernel's
log, an event of SCST. What comes together asks for one look; a probe looks once a second at most,
and one that sends commands to devices far more seldom.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Iterable
from typing import Any, NoReturn, Protocol

from storewatchd.port import Heard
from storewatchd.port.tap import TappedPort
from storewatchd.port.uevents import LOST, Uevent, UeventPort
from storewatchd.probes import Ears
from storewatchd.probes.kernel_log import NAME as KERNEL_LOG
from storewatchd.probes.scst.events import TaskManagement, VirtualDevice
from storewatchd.probes.scst.heard import EVENT_READER, EVENTS

logger = logging.getLogger(__name__)

COMMANDS_EVERY_S = 10.0
"""How soon after its last look one begins of a probe that sends commands to devices."""

_COMMANDING = frozenset(("tape_drive_logs", "library_inventories"))

_BLOCK = ("block",)
_TAPE = ("tape_drives", "libraries", "tape_drive_logs", "library_inventories")
_VTL = ("vtl", "vtl_units")
_SCST = ("scst_state", "scst", "scst_backing")
_SCST_LOG = ("scst_log",)
_FILES = ("filesystems", "repositories", "repository_states")

BY_SUBSYSTEM = {
    "block": _BLOCK,
    **dict.fromkeys(("scsi", "scsi_device", "scsi_disk"), (*_BLOCK, *_TAPE, *_VTL)),
    **dict.fromkeys(("scsi_generic", "scsi_tape", "scsi_changer"), (*_TAPE, *_VTL)),
    "scsi_host": (*_TAPE, *_VTL),
    **dict.fromkeys(("fc_host", "fc_remote_ports", "fc_vports"), ("fibrechannel",)),
    "hwmon": ("sensors",),
    "thermal": ("thermal",),
    "module": ("scst_modules", *_SCST, *_VTL),
    "scst_event": ("scst_modules", *_SCST, EVENT_READER, EVENTS),
}
"""Which probes look at what a device of a subsystem changes."""

BY_PATTERN = {
    "scst_event_lost": (EVENT_READER, *_SCST_LOG),
    "scst_error": (*_SCST, *_SCST_LOG),
    "scst": _SCST,
    "hung_task": ("processes", *_BLOCK),
    "io_error": _BLOCK,
    "device_attached": (*_BLOCK, *_TAPE, *_VTL),
    "device_detached": (*_BLOCK, *_TAPE, *_VTL),
    "tape_error": (*_TAPE, *_VTL),
    "scsi_error": (*_BLOCK, *_TAPE, *_VTL),
    "host_error": (*_BLOCK, *_TAPE, *_VTL),
    "link": ("fibrechannel", "scst"),
    "filesystem_error": _FILES,
    "array_error": _BLOCK,
}
"""Which probes look at what a line of the kernel's log is about."""

EVERYTHING = tuple({name: None for names in BY_SUBSYSTEM.values() for name in names})
"""What looks where the kernel had more to tell than we could take."""


class Listen(Protocol):
    """Hands over what a row of the verb `watch` tells, until cancelled."""

    def __call__(
        self, row: str, take: Callable[[Heard], None]
    ) -> Coroutine[Any, Any, NoReturn]: ...


class Touch(Protocol):
    """Has a probe look, so many seconds after its last look began at the earliest."""

    def __call__(self, probe: str, *, every_s: float = ...) -> None: ...


class Triggers:
    """What is heard, and which looks that asks for."""

    def __init__(
        self,
        *,
        listen: Listen,
        touch: Touch,
        tap: TappedPort,
        ears: Ears,
        probes: Collection[str],
    ) -> None:
        self._listen = listen
        self._touch = touch
        self._tap = tap
        self._events = ears.events
        self._log = ears.log
        self._probes = probes
        self._touched: dict[str, None] = {}
        self._look_for_events = asyncio.Event()

    async def run(self) -> None:
        """Listen until cancelled. What is told by a probe that is disabled is not listened to."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._hear_kernel())
            if KERNEL_LOG in self._probes:
                tasks.create_task(self._listen("kernel.log", self.hear_log))
            if EVENTS in self._probes:
                tasks.create_task(self._hear_scst())

    async def _hear_scst(self) -> None:
        while True:
            async with asyncio.TaskGroup() as tasks:
                listening = tasks.create_task(self._listen("scst.events", self.hear_scst))
                # SCST was loaded: its device is there now, or soon enough.
                await self._look_for_events.wait()
                self._look_for_events.clear()
                listening.cancel()

    async def _hear_kernel(self) -> None:
        try:
            await UeventPort(self.hear_uevent).run()
        except OSError as error:
            logger.warning(
                "the kernel's device messages cannot be heard (%s): devices are looked at by the"
                " schedule only",
                error.strerror or error,
            )

    def hear_uevent(self, event: Uevent) -> None:
        """Take a message of the kernel about a device."""
        self._tap.told("uevent", [event.action, event.path, event.subsystem])
        if event is LOST:
            self._ask(EVERYTHING)
            return
        if event.subsystem == "scst_event" and event.action == "add":
            self._look_for_events.set()
        self._ask(BY_SUBSYSTEM.get(event.subsystem, ()))

    def hear_log(self, heard: Heard) -> None:
        """Take what the watch of the kernel's log tells."""
        self._tap.told("kernel.log", [heard.state, heard.message, list(heard.records), heard.lost])
        found = self._log.take(heard)
        lost = found["scst_event_lost"]
        if lost:
            self._events.note_lost(lost)
        self._ask((KERNEL_LOG,))
        for pattern in found:
            self._ask(BY_PATTERN.get(pattern, ()))

    def hear_scst(self, heard: Heard) -> None:
        """Take what the watch of SCST's events tells."""
        self._tap.told("scst.events", [heard.state, heard.message, list(heard.records), heard.lost])
        found = self._events.take(heard)
        self._ask((EVENT_READER, EVENTS))
        if any(isinstance(one, TaskManagement | VirtualDevice) for one in found):
            self._ask(_SCST)

    def _ask(self, probes: Iterable[str]) -> None:
        """Have probes look; what is asked for in one turn of the loop is asked for once."""
        if not self._touched:
            asyncio.get_running_loop().call_soon(self._touch_all)
        self._touched.update(dict.fromkeys(probes))

    def _touch_all(self) -> None:
        touched, self._touched = self._touched, {}
        for probe in touched:
            if probe in _COMMANDING:
                self._touch(probe, every_s=COMMANDS_EVERY_S)
            else:
                self._touch(probe)
