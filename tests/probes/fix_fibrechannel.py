"""A machine with Fibre Channel ports. No real one was at hand: what is here is written after
scsi_transport_fc.c of Linux 6.1 (`show_fc_host_*`, `fc_stat_show`) and qla2xxx, whose statistics
are all ones while the adapter does not answer (`qla2x00_get_fc_host_stats`)."""

import asyncio
from dataclasses import replace

from fakes import HandClock, ScriptedPort
from probes.fix_probes import assert_keeps_to_its_families
from storewatchd.core.frames import Frame, Scope
from storewatchd.port import Reading
from storewatchd.probes.base import Probe
from storewatchd.probes.fibrechannel import FibreChannelProbe, FibreChannelStatisticsProbe

FIRST, SECOND = "21:00:00:24:ff:7e:3c:01", "21:00:00:24:ff:7e:3c:02"

TREE: dict[str, bytes | int] = {
    "fc_host/host3/port_name": b"0x21000024ff7e3c01\n",
    "fc_host/host3/port_state": b"Online\n",
    "fc_host/host3/speed": b"16 Gbit\n",
    "fc_host/host3/port_type": b"NPort (fabric via point-to-point)\n",
    "fc_host/host3/port_id": b"0x010300\n",
    "fc_host/host3/fabric_name": b"0x1000c4f57c6a0b11\n",
    "fc_host/host3/symbolic_name": b"QLE2692 FW:v9.08.02 DVR:v10.02.07\n",
    "fc_host/host3/supported_classes": b"Class 3\n",
    "fc_host/host3/supported_speeds": b"4 Gbit, 8 Gbit, 16 Gbit\n",
    "fc_host/host3/dev_loss_tmo": b"45\n",
    "fc_host/host4/port_name": b"0x21000024ff7e3c02\n",
    "fc_host/host4/port_state": b"Linkdown\n",
    "fc_host/host4/speed": b"unknown\n",
    "fc_remote_ports/rport-3:0-0/port_state": b"Online\n",
    "fc_remote_ports/rport-3:0-1/port_state": b"Online\n",
    "fc_remote_ports/rport-3:0-2/port_state": b"Not Present\n",
    "fc_remote_ports/rport-13:0-0/port_state": b"Online\n",
}

STATISTICS: dict[str, bytes | int] = {
    "statistics/dumped_frames": b"0xffffffffffffffff\n",  # not counted
    "statistics/error_frames": b"0x0\n",
    "statistics/fcp_packet_aborts": b"0xffffffffffffffff\n",
    "statistics/invalid_crc_count": b"0x1f\n",
    "statistics/invalid_tx_word_count": b"0x2a\n",
    "statistics/link_failure_count": b"0x3\n",
    "statistics/loss_of_signal_count": b"0x2\n",
    "statistics/loss_of_sync_count": b"0x4\n",
    "statistics/nos_count": b"0x0\n",
    "statistics/rx_frames": b"0x12345678\n",
    "statistics/rx_words": b"0x100000000\n",
    "statistics/seconds_since_last_reset": b"0xe10\n",
    "statistics/tx_frames": b"0x10\n",
    "statistics/tx_words": b"0x40\n",
}

SCOPE = Scope("fibrechannel_statistics", (("fc_host", "host3"),))


class Machine(ScriptedPort):
    """A machine with Fibre Channel ports, and a clock."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = HandClock()
        self.asked_for: list[tuple[str, str]] = []
        self.readings["sys.fc", ""] = dict(TREE)
        self.readings["sys.fc.statistics", "host3"] = dict(STATISTICS)
        self.probe = FibreChannelProbe()
        self.statistics = FibreChannelStatisticsProbe(self.clock.clock)

    async def read(self, row: str, object_id: str = "") -> Reading:
        self.asked_for.append((row, object_id))
        return replace(await super().read(row, object_id), at=self.clock.wall())

    def be(self, **changes: bytes | int) -> None:
        """Change attributes of the first port."""
        self.readings["sys.fc", ""] = {
            **TREE,
            **{f"fc_host/host3/{name}": value for name, value in changes.items()},
        }

    def look(self, after_s: float = 30) -> Frame:
        return self._collect(self.probe, Scope("fibrechannel"), after_s)

    def count(self, after_s: float = 30) -> Frame:
        return self._collect(self.statistics, SCOPE, after_s)

    def _collect(self, probe: Probe, scope: Scope, after_s: float) -> Frame:
        self.clock.forward(after_s)
        asyncio.run(probe.discover(self))
        frame = asyncio.run(probe.collect(self, scope))
        assert_keeps_to_its_families(probe, frame)
        return frame
