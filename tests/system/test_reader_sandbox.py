"""The reader's unit under a real systemd: its sandbox hides nothing that is looked at."""

from collections.abc import Iterator

import pytest

from lab.systemd_box import SystemdBox
from system.appliance import wait_for
from system.test_systemd import booted, ctl

# Booting and a first cluster take seconds; nothing below waits longer than it has to.
pytestmark = pytest.mark.timeout(120)

DRIVE = "LAB11"


@pytest.fixture
def started() -> Iterator[SystemdBox]:
    """A machine with a drive of mhvtl, whose daemon does nothing."""
    files = {
        "/etc/systemd/system/vtltape@.service": "[Service]\nExecStart=/usr/bin/vtltape -q%i\n",
        "/usr/bin/vtltape": "#!/bin/sh\nwhile :; do sleep 600; done\n",
        "/etc/mhvtl/device.conf": (
            f"Drive: 11 CHANNEL: 00 TARGET: 01 LUN: 00\n Unit serial number: {DRIVE}\n"
        ),
        "/etc/crypttab": "backup UUID=5 none luks\n",
        "/etc/bareos/bareos-sd.conf": "  Archive Device = /dev/nst0\n",
    }
    with booted(files) as box:
        units = ("storewatch-reader.socket", "storewatchd", "vtltape@11")
        box.run("systemctl", "start", *units)
        yield box


def values(box: SystemdBox, expr: str) -> list[float]:
    rows = ctl(box, "metrics", "--query", expr)["rows"]
    return [one["value"] for one in rows]


def test_units_and_the_next_start_are_seen_from_the_sandbox(started: SystemdBox) -> None:
    state = f'vtl_unit_state{{drive="{DRIVE}",unit="vtltape@11.service",state="active"}}'
    wait_for("the unit", lambda: values(started, state) == [1])
    wait_for("the next start", lambda: values(started, "node_reboot_scheduled") == [0])
    for check in ("crypttab", "tape_names"):
        assert values(started, f'node_next_boot_ready{{check="{check}"}}') == [0]
