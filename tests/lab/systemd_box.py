"""A real systemd as PID 1, booted by systemd-nspawn over a throw-away layer on this machine's root.

Commands inside run through nsenter; files and sockets of the box are reached by `path`. Needs root.
"""

import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

BOOT_S = 60.0

# Where PID 1 is not systemd, nspawn gets a cgroup2 of its own, in a private mount namespace.
_SETUP = r"""
set -e
# nspawn wants the root to be a mount, which it is not in a chroot.
if ! mountpoint -q /; then
  mkdir "$TOP/again"; mount --rbind / "$TOP/again"
  exec chroot "$TOP/again" bash "$0" "$@"
fi
# Nothing below may reach the machine.
cut -d ' ' -f 5 /proc/self/mountinfo | while read -r place; do
  mount --make-private "$(printf '%b' "$place")" 2>/dev/null || :
done
if [ "$CGROUP" ]; then
  if [ "$(stat -fc %T /sys/fs/cgroup 2>/dev/null)" != cgroup2fs ]; then
    umount -R /sys/fs/cgroup 2>/dev/null || umount -l -R /sys/fs/cgroup 2>/dev/null || :
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
  fi
  mkdir "/sys/fs/cgroup/$CGROUP"; echo $$ > "/sys/fs/cgroup/$CGROUP/cgroup.procs"
fi
mkdir -p /run/systemd/nspawn; mount -t tmpfs tmpfs /run/systemd/nspawn
mount -t tmpfs -o mode=755 tmpfs "$TOP"; mkdir "$TOP/upper" "$TOP/work" "$TOP/root"
mount -t overlay -o "lowerdir=/,upperdir=$TOP/upper,workdir=$TOP/work" overlay "$TOP/root"
cp -a "$SEED/." "$TOP/root/"; : > "$TOP/root/etc/fstab"
exec systemd-nspawn --quiet --boot -D "$TOP/root" --machine="$NAME" --register=no $KEEP_UNIT \
  --private-network --link-journal=no --notify-ready=yes --console=pipe \
  --kill-signal=SIGRTMIN+4 --tmpfs=/var/log/journal:mode=0755 "$@" systemd.unit=basic.target
"""

_JOURNALD = "[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\nRateLimitBurst=0\n"


class SystemdBox:
    """One booted box. `files` are written into it first, executable where they start with #!;
    `binds` are directories of this machine shown read-only elsewhere in it."""

    def __init__(self, files: Mapping[str, str], binds: Mapping[Path, str]) -> None:
        self._files = {"/etc/systemd/journald.conf.d/99-test.conf": _JOURNALD, **files}
        self._binds = [f"--bind-ro={source}:{target}" for source, target in binds.items()]
        self._directory = Path(tempfile.mkdtemp(prefix="systemd-box-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def __enter__(self) -> Self:
        seed, top = self._directory / "seed", self._directory / "top"
        top.mkdir()
        script = self._directory / "setup.sh"
        script.write_text(_SETUP)
        for name, text in self._files.items():
            path = seed / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755 if text.startswith("#!") else 0o644)
        subprocess.run(["chmod", "-R", "go+rX", seed], check=True)
        is_native = Path("/run/systemd/system").is_dir()
        name = self._directory.name.replace("_", "x")
        environ = {
            **os.environ,
            "NOTIFY_SOCKET": str(self._directory / "notify"),
            "TOP": str(top),
            "SEED": str(seed),
            "NAME": name,
            "CGROUP": "" if is_native else name,
            "KEEP_UNIT": "" if is_native else "--keep-unit",
        }
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify,
            (self._directory / "console.log").open("wb") as log,
        ):
            notify.bind(environ["NOTIFY_SOCKET"])
            notify.settimeout(BOOT_S)
            self._process = subprocess.Popen(
                [
                    *("unshare", "--mount", "--propagation", "unchanged"),
                    *("bash", str(script), *self._binds),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environ,
            )
            try:
                self._wait_until_up(notify)
            except BaseException as error:
                said = (self._directory / "console.log").read_text(errors="replace")
                self.close()
                raise RuntimeError(f"systemd did not boot: {said}") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def _wait_until_up(self, notify: socket.socket) -> None:
        is_ready = False
        while not (is_ready and self._leader):
            for line in notify.recv(4096).decode().splitlines():
                key, _, value = line.partition("=")
                if key == "X_NSPAWN_LEADER_PID":
                    self._leader = int(value)
                is_ready |= line == "READY=1"
        self.run("systemctl", "is-system-running", "--wait", check=False)

    def close(self) -> None:
        """Power off and leave nothing behind."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)

    def run(
        self, *words: str, check: bool = True, timeout_s: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside as root."""
        done = subprocess.run(
            [
                *(
                    "nsenter",
                    "-t",
                    str(self._leader),
                    "-a",
                    "-r",
                    "--",
                    "env",
                    "-i",
                    "LC_ALL=C.UTF-8",
                ),
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                *("SYSTEMD_PAGER=", "SYSTEMD_COLORS=0", *words),
            ],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(
                f"{shlex.join(words)} ended with {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done

    def show(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).stdout.strip()

    def journal(self, *matches: str) -> Sequence[str]:
        """Return the journal's entries that match, as JSON, oldest first."""
        return self.run("journalctl", "--output=json", "--all", *matches).stdout.splitlines()
