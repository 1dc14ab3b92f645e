"""A second target, written by others: Debian's tgtd with a changer and drives, on loopback.

It has no LOG SENSE, no reservations, and bar codes of 10 characters at most; each new session
raises a unit attention 29/00, which the shim takes, as a kernel would have.
"""

import os
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.tape.shim import built

_IQN = "iqn.2024-01.test:library"
_ROBOT, _SLOT, _MAIL, _DRIVE = 1, 2, 3, 4  # element types
_FIRST = {_ROBOT: 1, _SLOT: 1001, _MAIL: 101, _DRIVE: 501}


class TgtLibrary:
    """A context manager over a directory of its own. Slots are numbered from 1."""

    def __init__(
        self, root: Path, *, drives: int = 2, slots: int = 20, mail_slots: int = 2, filled: int = 12
    ) -> None:
        root.mkdir(parents=True)
        self.root = root
        self.drives = drives
        self.sg = "/dev/sg90"
        self._slots, self._mail_slots, self._filled = slots, mail_slots, filled
        self._port = _free_port()
        self._control = str(self._port % 30_000)
        self._env = {**os.environ, "TGT_IPC_SOCKET": str(root / "ipc")}
        self._changer = drives + 1  # its LUN

    @property
    def env(self) -> dict[str, str]:
        """The environment in which real tools find the devices."""
        return {
            **os.environ,
            "LD_PRELOAD": str(built(has_iscsi=True)),
            "SGSHIM_MAP": str(self.root / "map"),
            "SGSHIM_EAT_UA": "1",
        }

    @property
    def pid(self) -> int:
        return self._daemon.pid

    def drive_sg(self, drive: int) -> str:
        return f"/dev/sg{drive}"

    def __enter__(self) -> Self:
        self._log = (self.root / "tgtd.log").open("wb")
        command = ["tgtd", "-D", "-C", self._control]
        command += ["--iscsi", f"portal=127.0.0.1:{self._port}"]
        self._daemon = subprocess.Popen(command, env=self._env, stdout=self._log, stderr=self._log)
        try:
            self._wait()
            self._configure()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._daemon.kill()  # it ignores SIGTERM
        self._daemon.wait()
        self._log.close()

    def _wait(self) -> None:
        end = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port), 0.2).close()
            except OSError:
                # Nothing tells when it listens.
                if self._daemon.poll() is not None or time.monotonic() > end:
                    said = (self.root / "tgtd.log").read_text()
                    raise RuntimeError(f"tgtd does not listen: {said}") from None
                time.sleep(0.005)  # tgtd does not tell when it listens
            else:
                return

    def _configure(self) -> None:
        self._administer("target", "new", "-T", _IQN)
        (self.root / "changer").write_bytes(bytes(1024))
        empty = self._medium("EMPTY")
        for lun in range(1, self.drives + 1):
            self._unit("new", lun, "--backing-store", str(empty), "--device-type", "tape")
            self._set(
                lun,
                vendor_id="LABTAPE",
                product_id="ULTRIUM-HH8",
                product_rev="0100",
                scsi_sn=f"DRV{lun:07}",
            )
            self._set(lun, online="0")
        store = str(self.root / "changer")
        self._unit("new", self._changer, "--backing-store", store, "--device-type", "changer")
        changer = self._changer
        self._set(changer, vendor_id="LABLIB", product_id="VCHANGER-20", scsi_sn="CHG0000001")
        self._set(changer, media_home=str(self.root))
        counts = {_ROBOT: 1, _DRIVE: self.drives, _SLOT: self._slots, _MAIL: self._mail_slots}
        for kind, count in counts.items():
            self._set(changer, element_type=kind, start_address=_FIRST[kind], quantity=count)
        for drive in range(self.drives):
            address = _FIRST[_DRIVE] + drive
            self._set(changer, element_type=_DRIVE, address=address, tid=1, lun=drive + 1)
        for slot in range(self._filled):
            barcode = f"LAB{slot + 1:03}L8"
            self._medium(barcode)
            address = _FIRST[_SLOT] + slot
            self._set(changer, element_type=_SLOT, address=address, barcode=barcode, sides=1)
        self._administer("target", "bind", "-I", "127.0.0.1")
        luns = {self.drive_sg(i): i + 1 for i in range(self.drives)} | {self.sg: changer}
        portal = f"iscsi://127.0.0.1:{self._port}/{_IQN}"
        (self.root / "map").write_text("".join(f"{p} {portal}/{n}\n" for p, n in luns.items()))

    def _administer(self, mode: str, operation: str, *words: str) -> None:
        command = ["tgtadm", "-C", self._control, "--lld", "iscsi", "--mode", mode]
        command += ["--op", operation, "--tid", "1", *words]
        subprocess.run(command, env=self._env, check=True, capture_output=True)

    def _unit(self, operation: str, lun: int, *words: str) -> None:
        self._administer("logicalunit", operation, "--lun", str(lun), *words)

    def _set(self, unit: int, /, **parameters: str | int) -> None:
        words = ",".join(f"{name}={value}" for name, value in parameters.items())
        self._unit("update", unit, "--params", words)

    def _medium(self, barcode: str) -> Path:
        path = self.root / barcode
        command = ["tgtimg", "--op", "new", "--device-type", "tape", "--barcode", barcode]
        command += ["--size", "1", "--type", "data", "--file", str(path), "--thin-provisioning"]
        subprocess.run(command, check=True, capture_output=True)
        return path


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
