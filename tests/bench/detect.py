"""From a fault to its alert, as a subscriber hears it, where the kernel tells: by its messages
about devices, by its log, and by an emulated scst_event. The schedule is far away."""

import asyncio
import json
import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench.measure import Bench, Figure, Samples
from bench.programs import appliance_for_bench
from lab import scst_events
from lab.scst_events import ScstEventDevice, task_management
from storewatch import Client
from storewatch.stream import EventStream
from system.appliance import Appliance, wait_for

REST_S = 2.1
"""From when on no look is put off because another has just been: what happened before may have
asked for two."""

RULES = """
groups:
  - name: detect
    rules:
      - alert: LogSpeaks
        expr: kernel_log_matches_total > 0
      - alert: DiskIsThere
        expr: node_disk_size_bytes{device=~"loop.*"} > 0
"""

LINES = {
    "io_error": "I/O error, dev sdzz, sector 0",
    "hung_task": "INFO: task storewatch:1 blocked for more than 120 seconds",
    "tape_error": "st 99:0:0:0: [st99] Error 10000",
    "device_detached": "sd 99:0:0:0: [sdzz] Synchronizing SCSI cache",
    "device_attached": "sd 99:0:0:0: [sdzz] Attached SCSI disk",
    "scsi_error": "scsi 99:0:0:0: timing out command, waited 180s",
    "scst_error": "[1]: dev_vdisk: ***ERROR***: BLOCKIO for cmd 0 finished with error -5",
    "filesystem_error": "EXT4-fs error (device sdzz): ",
}

TO_RESET = "LUN reset to alert (scst_event)"
TO_LINE = "line of the kernel's log to alert"
TO_DISK = "disk attached to alert (netlink)"
AT_ONCE_AGAIN = "the same, right after a look"


@contextmanager
def _listening(appliance: Appliance) -> Iterator[ScstEventDevice]:
    """Run the programs so that they hear; give SCST's part."""
    dev = appliance.directory / "dev"
    dev.mkdir()
    (dev / "kmsg").symlink_to("/dev/kmsg")
    (appliance.rules / "detect.yml").write_text(RULES)
    with ScstEventDevice(dev) as device:
        os.environ["LD_PRELOAD"] = os.fspath(scst_events.shim())
        try:
            appliance.start_reader("--dev", os.fspath(dev))
        finally:
            del os.environ["LD_PRELOAD"]
        appliance.start()
        wait_for("the reader", lambda: len(device.allowed) == 4)
        yield device


async def _until(stream: EventStream, rule: str, about: str) -> None:
    """Wait until an alert fires of which a label says this."""
    async with asyncio.timeout(30):
        async for batch in stream:
            for raw in batch:
                event = json.loads(bytes(raw))
                data = event["data"]
                is_it = event["kind"] == "firing" and data["rule"] == rule
                if is_it and about in data["labels"].values():
                    return


async def _delay(stream: EventStream, rule: str, about: str, fault: Callable[[], object]) -> float:
    """Return the milliseconds from a fault to its alert."""
    began = time.monotonic()
    await asyncio.to_thread(fault)
    await _until(stream, rule, about)
    return 1000 * (time.monotonic() - began)


def _log(line: str) -> None:
    with open("/dev/kmsg", "w") as kmsg:
        kmsg.write(f"<6>{line}\n")


def _losetup(*words: str | Path) -> str:
    made = subprocess.run(["losetup", *words], check=True, capture_output=True, text=True)
    return made.stdout.strip()


async def _rest() -> None:
    # So that each sample meets the programs at rest, in any phase of what they do by themselves.
    await asyncio.sleep(REST_S + random.uniform(0, 1))


async def _measured(appliance: Appliance, device: ScstEventDevice) -> list[tuple[str, float]]:
    found = []
    disk = appliance.directory / "disk.img"
    disk.write_bytes(bytes(1 << 20))
    async with Client(os.fspath(appliance.socket)) as client:
        stream = await client.subscribe(types=["alert"])
        await asyncio.sleep(2 * REST_S)  # the second look of all is over
        for number in range(15):
            await _rest()
            for name in (TO_RESET, AT_ONCE_AGAIN):
                who = f"iqn.2026-01.bench:{name[:3]}-{number}"
                reset = partial(device.say, task_management(4, who, "iqn.2026-01.bench:disk"))
                found.append((name, await _delay(stream, "InitiatorResetting", who, reset)))
        for pattern, line in LINES.items():
            await _rest()
            open_alerts = await client.call("alerts.list", {"rule": "LogSpeaks"})
            if pattern in str(open_alerts):
                continue  # this machine's log has spoken of that meanwhile
            told = partial(_log, f"{line} (a measurement)")
            found.append((TO_LINE, await _delay(stream, "LogSpeaks", pattern, told)))
        free = _losetup("-f")
        for _ in range(10):
            await _rest()
            attach = partial(_losetup, free, disk)
            name = free.rpartition("/")[2]
            found.append((TO_DISK, await _delay(stream, "DiskIsThere", name, attach)))
            await asyncio.to_thread(_losetup, "-d", free)
    return found


def _detect() -> Samples:
    with (
        appliance_for_bench(interval_s=3600, more='[database]\nkind = "none"') as appliance,
        _listening(appliance) as device,
    ):
        yield from asyncio.run(_measured(appliance, device))


BENCHES = (
    Bench(
        "detect",
        "a fault that the kernel tells becomes an alert that a subscriber hears; as root",
        (
            Figure(TO_RESET, "ms", 1000),
            Figure(AT_ONCE_AGAIN, "ms"),
            Figure(TO_LINE, "ms", 1000),
            Figure(TO_DISK, "ms", 1000),
        ),
        _detect,
    ),
)
