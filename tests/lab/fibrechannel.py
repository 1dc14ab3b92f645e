"""Ports as /sys/class/fc_host shows them, of plain files: links go down and up, hosts log in, and
adapters count errors. Layout and words are those of scsi_transport_fc.c, Linux 6.1."""

import shutil
from dataclasses import dataclass
from pathlib import Path

STATISTICS = (
    *("dumped_frames", "error_frames", "fcp_packet_aborts", "invalid_crc_count"),
    *("invalid_tx_word_count", "link_failure_count", "loss_of_signal_count"),
    *("loss_of_sync_count", "nos_count", "rx_frames", "rx_words"),
    *("seconds_since_last_reset", "tx_frames", "tx_words"),
)


@dataclass(eq=False)
class FcPort:
    """A port; `name` is its world wide name in pairs, as SCST calls its target."""

    sysfs: Path
    number: int
    name: str

    def __post_init__(self) -> None:
        self._logins = 0
        self.path.mkdir(parents=True)
        (self.path / "statistics").mkdir()
        raw = "0x" + self.name.replace(":", "")
        for attribute, words in (
            ("port_name", raw),
            ("node_name", raw),
            ("port_state", "Online"),
            ("speed", "16 Gbit"),
            ("port_type", "NPort (fabric via point-to-point)"),
            ("port_id", f"0x01{self.number:02x}00"),
            ("fabric_name", "0x1000c4f57c6a0b11"),
            ("symbolic_name", "QLE2692 FW:v9.08.02 DVR:v10.02.07"),
            ("supported_classes", "Class 3"),
            ("supported_speeds", "4 Gbit, 8 Gbit, 16 Gbit"),
            ("dev_loss_tmo", "45"),
        ):
            self.write(attribute, words)
        for attribute in STATISTICS:
            self.write(f"statistics/{attribute}", "0x0")
        # Who writes to it sets all of them to zero.
        (self.path / "statistics/reset_statistics").touch(mode=0o200)
        _link(self.sysfs, "fc_host", self.path)

    @property
    def path(self) -> Path:
        return self.sysfs / f"devices/pci0/host{self.number}/fc_host/host{self.number}"

    def write(self, attribute: str, words: str) -> None:
        (self.path / attribute).write_text(f"{words}\n")

    def go_down(self) -> None:
        """Lose the link, and with it who was logged in."""
        self.write("port_state", "Linkdown")
        self.write("speed", "unknown")
        for remote in (self.sysfs / "class/fc_remote_ports").glob(f"rport-{self.number}:*"):
            (remote / "port_state").write_text("Not Present\n")

    def come_up(self) -> None:
        self.write("port_state", "Online")
        self.write("speed", "16 Gbit")

    def count(self, attribute: str, count: int) -> None:
        """Have the adapter have counted so much."""
        self.write(f"statistics/{attribute}", f"{count:#x}")

    def log_in(self) -> None:
        """Have another port log in."""
        name = f"rport-{self.number}:0-{self._logins}"
        self._logins += 1
        place = self.sysfs / f"devices/pci0/host{self.number}/{name}/fc_remote_ports/{name}"
        place.mkdir(parents=True)
        (place / "port_state").write_text("Online\n")
        _link(self.sysfs, "fc_remote_ports", place)

    def die(self) -> None:
        """Have the adapter vanish, as when its driver gives it up."""
        (self.sysfs / f"class/fc_host/host{self.number}").unlink()
        for remote in (self.sysfs / "class/fc_remote_ports").glob(f"rport-{self.number}:*"):
            remote.unlink()
        shutil.rmtree(self.sysfs / f"devices/pci0/host{self.number}")


def _link(sysfs: Path, kind: str, place: Path) -> None:
    (sysfs / "class" / kind).mkdir(parents=True, exist_ok=True)
    (sysfs / "class" / kind / place.name).symlink_to(place)
