"""A tree like /sys/kernel/scst_tgt, of plain files, that lives: targets come and go, sessions log
in and out, counters move, and attributes refuse, are late, or hang.

Sessions count; a target's counters are sums over its live sessions, as in SCST, and fall when one
leaves.
"""

import os
import shutil
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lab import scst_layout as layout
from lab.answers import Answer, AnswersMount

_MODES = {
    **dict.fromkeys(layout.WRITE_ONLY, 0o200),
    **dict.fromkeys(layout.SECRET, 0o600),
}


@dataclass(eq=False)
class Session:
    """An initiator's session. Its directory has a name that says little of it."""

    target: "Target"
    name: str
    initiator: str
    group: str
    counters: dict[str, int] = field(default_factory=lambda: dict.fromkeys(layout.COUNTERS, 0))

    @property
    def path(self) -> str:
        return f"{self.target.path}/sessions/{self.name}"

    def transfer(
        self, *, reads: int = 0, read_kib: int = 0, writes: int = 0, write_kib: int = 0
    ) -> None:
        """Finish commands."""
        moved = {
            "read_cmd_count": reads,
            "read_io_count_kb": read_kib,
            "write_cmd_count": writes,
            "write_io_count_kb": write_kib,
        }
        for name, more in moved.items():
            if more:
                self.counters[name] += more
                self.target.tree.set(f"{self.path}/{name}", str(self.counters[name]))
        self.target.show_sums()

    def reset(self) -> None:
        """Have somebody write to the counters, which makes them start again."""
        for name in self.counters:
            self.counters[name] = 0
            self.target.tree.set_if_there(f"{self.path}/{name}", "0")
        self.target.show_sums()

    def wait(self, commands: int, *, lun: int) -> None:
        """Have commands for a LUN be outstanding: for ever, if nobody says otherwise."""
        tree = self.target.tree
        tree.set(f"{self.path}/commands", str(commands))
        tree.set_if_there(f"{self.path}/active_commands", str(commands))
        tree.set(f"{self.path}/lun{lun}/active_commands", str(commands))

    def spend(self, table: str, commands: int, *, wait_us: float) -> None:
        """Have so many commands of a kind and size, `r4096`, have waited for the back end."""
        lines = "".join(
            f"{stage} {commands} 0.1 {wait_us:.1f} {wait_us:.1f} 0.0 us\n"
            for stage in ("EXEC_WAIT", "total")
        )
        head = layout.LATENCY[table]
        self.target.tree.write(f"{self.path}/latency/{table}", head + lines)

    def log_out(self) -> None:
        self.target.sessions.remove(self)
        shutil.rmtree(self.target.tree.path / self.path)
        self.target.show_sums()


@dataclass(eq=False)
class Target:
    tree: "ScstTree"
    driver: str
    name: str
    sessions: list[Session] = field(default_factory=list)
    luns: dict[str, dict[int, str]] = field(default_factory=lambda: {"": {}})
    """Devices by number, by group; "" for those that belong to none."""
    initiators: dict[str, list[str]] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return f"targets/{self.driver}/{self.name}"

    def enable(self, *, is_enabled: bool = True) -> None:
        """Enable or disable; sessions stay."""
        self.tree.set(f"{self.path}/enabled", str(int(is_enabled)))

    def add_user(self, user: str, secret: str) -> None:
        """Have initiators authenticate: their secret is there in plain text."""
        self.tree.make(self.path, {"IncomingUser": f"{user} {secret}\n{layout.KEY}\n"})

    def add_group(self, name: str, initiators: Iterable[str] = ()) -> None:
        path = f"{self.path}/ini_groups/{name}"
        known = self.initiators[name] = list(initiators)
        self.luns[name] = {}
        self.tree.make(path, layout.GROUP)
        self.tree.make(f"{path}/luns", {"mgmt": layout.LUNS_MGMT})
        names = {initiator: f"{initiator}\n" for initiator in known}
        self.tree.make(f"{path}/initiators", {"mgmt": layout.INITIATORS_MGMT, **names})

    def add_lun(
        self, number: int, device: str, *, group: str = "", is_read_only: bool = False
    ) -> None:
        """Map a device to a number: of the target, or of one of its groups."""
        luns = f"{self.path}/ini_groups/{group}/luns" if group else f"{self.path}/luns"
        path = f"{luns}/{number}"
        read_only = "1\n" + layout.KEY if is_read_only else "0\n"
        self.tree.make(path, {"read_only": read_only})
        self.tree.link(f"{path}/device", f"devices/{device}")
        self.tree.export(device, path)
        self.luns[group][number] = device
        for session in self.sessions:
            if session.group == group:
                self.tree.make_session_lun(session, number)

    def remove_lun(self, number: int, *, group: str = "") -> None:
        luns = f"{self.path}/ini_groups/{group}/luns" if group else f"{self.path}/luns"
        self.tree.unexport(self.luns[group].pop(number), f"{luns}/{number}")
        shutil.rmtree(self.tree.path / luns / str(number))
        for session in self.sessions:
            if session.group == group:
                shutil.rmtree(self.tree.path / session.path / f"lun{number}")

    def log_in(
        self, initiator: str, *, name: str | None = None, address: str = "127.0.0.1"
    ) -> Session:
        """Begin a session: with the LUNs of the initiator's group, or of the target.

        A second one of an initiator gets `_1` at its name's end; so may the only one after a
        reconnect: give the `name`.
        """
        taken = {session.name for session in self.sessions}
        if name is None:
            name, number = initiator, 0
            while name in taken:
                number += 1
                name = f"{initiator}_{number}"
        group = next((g for g, known in self.initiators.items() if initiator in known), "")
        session = Session(self, name, initiator, group)
        self.sessions.append(session)
        self.tree.make_session(session, address)
        for number in self.luns[group]:
            self.tree.make_session_lun(session, number)
        return session

    def remove(self) -> None:
        """Have the target deleted, with its sessions and LUNs."""
        for group, luns in self.luns.items():
            for number in list(luns):
                self.remove_lun(number, group=group)
        shutil.rmtree(self.tree.path / self.path)
        self.tree.targets.remove(self)

    def show_sums(self) -> None:
        for name in layout.COUNTERS:
            total = sum(session.counters[name] for session in self.sessions)
            self.tree.set_if_there(f"{self.path}/{name}", str(total))


class ScstTree:
    """The tree below a sysfs root. It begins as a core with handlers and without devices.

    A lean one has only what is read at each interval, for trees of a hundred thousand attributes.
    """

    def __init__(self, sysfs: Path, *, is_lean: bool = False) -> None:
        self.path = sysfs / "kernel/scst_tgt"
        self.is_lean = is_lean
        self.targets: list[Target] = []
        self._drafts = sysfs.with_name(f"{sysfs.name}.scst-drafts")
        self._exports: dict[str, dict[str, int]] = {}
        self._handlers: dict[str, str] = {}
        self._logins = 0
        self._mount: AnswersMount | None = None
        self._mended: dict[str, Path] = {}
        self._drafts.mkdir(parents=True)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.make("", layout.ROOT)
        for name in ("devices", "targets", "handlers"):
            self.make(name, {})
        self.make("device_groups", {"mgmt": layout.DEVICE_GROUPS_MGMT})
        self.make("sgv", {"global_stats": "Inactive pages                             0\n"})
        for pool in () if is_lean else layout.SGV_POOLS:
            self.make(f"sgv/{pool}", {"stats": layout.sgv_stats(pool)})
        for handler, kind in layout.HANDLERS.items():
            contents = {**layout.HANDLER, "type": kind}
            if handler == "scst_user":
                del contents["mgmt"]
            self.make(f"handlers/{handler}", contents)
        self._copies: Target | None = None
        if not is_lean:
            self.add_driver("copy_manager")
            self._copies = self.add_target("copy_manager", "copy_manager_tgt")
            self._copies.log_in("copy_manager_sess")

    def close(self) -> None:
        """Mend what hangs, and unmount."""
        if self._mount:
            self._mount.__exit__(None, None, None)
            self._mount = None

    # Devices.

    def add_device(
        self,
        name: str,
        handler: str = "vdisk_fileio",
        *,
        filename: str = "",
        size: int = 64 << 20,
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        """Add a device of a handler; `attributes` are contents that differ from the usual."""
        is_virtual = handler in layout.KIND_OF
        words = {
            "name": name,
            "number": f"{zlib.crc32(name.encode()):08x}",
            "filename": f"{filename or f'/var/lab/{name}.img'}\n{layout.KEY}",
            "size": str(size) + ("\n[key]" if handler != "vdisk_nullio" else ""),
            "size_mb": str(size >> 20),
            "vendor": "SCST_BIO" if handler == "vdisk_blockio" else "SCST_FIO",
            "threads": "8" if handler in ("vdisk_fileio", "vcdrom") else "1",
        }
        contents = {
            **layout.DEVICE,
            **layout.KIND_OF.get(handler, {}),
            "type": layout.HANDLERS.get(handler, layout.DISK),
        }
        if self.is_lean:
            contents = {key: contents[key] for key in layout.LEAN_DEVICE if key in contents}
        contents = {key: text.format(**words) for key, text in contents.items()}
        path = f"devices/{name}"
        self.make(path, {**contents, **(attributes or {})})
        self.make(f"{path}/exported", {})
        self._exports[name] = {}
        self._handlers[name] = handler
        if not is_virtual:
            host, _, rest = name.partition(":")
            place = f"host{host}/target{host}:{rest.rpartition(':')[0]}/{name}/scsi_device/{name}"
            (self.path / path / "scsi_device").symlink_to(f"../../../../devices/platform/{place}")
        if handler:
            self.link(f"{path}/handler", f"handlers/{handler}")
            self.link(f"handlers/{handler}/{name}", path)
        if self._copies and is_virtual:
            self._copies.add_lun(max(self._copies.luns[""], default=-1) + 1, name)

    def add_local_device(self, address: str, kind: str = layout.DISK) -> None:
        """Add a SCSI device of this machine, H:C:I:L, which is exported by nobody."""
        self.add_device(address, "", attributes={"type": kind, "max_tgt_dev_commands": "0\n"})

    def remove_device(self, name: str) -> None:
        """Delete a device that no LUN needs, save the copy manager's."""
        if self._copies:
            for number, device in list(self._copies.luns[""].items()):
                if device == name:
                    self._copies.remove_lun(number)
        handler = self._handlers.pop(name)
        if handler:
            (self.path / "handlers" / handler / name).unlink()
        shutil.rmtree(self.path / "devices" / name)
        del self._exports[name]

    def deactivate(self, name: str) -> None:
        self.set(f"devices/{name}/active", "0", is_key=True)
        self.set(f"devices/{name}/size", "0", is_key=True)

    def block(self, name: str, *, count: int = 1, pending: int = 0) -> None:
        """Block a device: its commands wait."""
        self.set(f"devices/{name}/block", f"{count} {pending}")

    def suspend(self, count: int = 1) -> None:
        """Suspend everything; 0 resumes."""
        self.set("suspend", str(count))

    def export(self, device: str, lun: str) -> None:
        taken = self._exports[device]
        number = next(n for n in range(len(taken) + 1) if n not in taken.values())
        taken[lun] = number
        self.link(f"devices/{device}/exported/export{number}", lun)

    def unexport(self, device: str, lun: str) -> None:
        number = self._exports[device].pop(lun)
        (self.path / "devices" / device / "exported" / f"export{number}").unlink()

    # Drivers and targets.

    def add_driver(self, name: str) -> None:
        self.make(f"targets/{name}", layout.DRIVERS[name])
        if name == "iscsi":
            self.start_daemon()

    def remove_driver(self, name: str) -> None:
        """Unload a driver, with its targets."""
        for target in [t for t in self.targets if t.driver == name]:
            target.remove()
        shutil.rmtree(self.path / "targets" / name)

    def add_target(self, driver: str, name: str, *, relative_id: int = 0) -> Target:
        target = Target(self, driver, name)
        tid = 1 + sum(other.driver == driver for other in self.targets)
        contents = {**layout.TARGET, **layout.TARGET_OF[driver]}
        if relative_id:
            contents["rel_tgt_id"] = f"{relative_id}\n{layout.KEY}"
        if self.is_lean:
            contents = {key: contents[key] for key in layout.LEAN_TARGET if key in contents}
        contents = {key: text.format(name=name, tid=tid) for key, text in contents.items()}
        self.make(target.path, contents)
        self.make(f"{target.path}/luns", {"mgmt": layout.LUNS_MGMT})
        self.make(f"{target.path}/ini_groups", {"mgmt": layout.GROUPS_MGMT})
        self.make(f"{target.path}/sessions", {})
        self.targets.append(target)
        return target

    def stop_daemon(self) -> None:
        """Have iscsi-scstd die: all of its targets are gone, and what it served."""
        for target in [t for t in self.targets if t.driver == "iscsi"]:
            target.remove()
        for name in layout.ISCSI_SERVED:
            (self.path / "targets/iscsi" / name).unlink()
        self.set("targets/iscsi/open_state", "closed")

    def start_daemon(self, *, is_enabled: bool = True) -> None:
        """Start iscsi-scstd, which has no targets before it is configured."""
        enabled = f"{int(is_enabled)}\n\n"
        self.make("targets/iscsi", {**layout.ISCSI_SERVED, "enabled": enabled})
        self.set("targets/iscsi/open_state", "open")

    def make_session(self, session: Session, address: str) -> None:
        target = session.target
        self._logins += 1
        sid = f"{self._logins << 24 | 0x3D0200:x}"
        contents = {**layout.SESSION, **layout.SESSION_OF[target.driver]}
        if self.is_lean:
            contents = {key: contents[key] for key in layout.LEAN_SESSION if key in contents}
        words = {"initiator": session.initiator, "sid": sid}
        self.make(session.path, {key: text.format(**words) for key, text in contents.items()})
        of_group = f"ini_groups/{session.group}/" if session.group else ""
        self.link(f"{session.path}/luns", f"{target.path}/{of_group}luns")
        if self.is_lean:
            return
        self.make(f"{session.path}/latency", layout.LATENCY)
        if target.driver == "iscsi":
            connection = {k: text.format(address=address) for k, text in layout.CONNECTION.items()}
            self.make(f"{session.path}/{address}", connection)

    def make_session_lun(self, session: Session, number: int) -> None:
        contents = dict(layout.SESSION_LUN)
        if self.is_lean:
            contents = {key: contents[key] for key in layout.LEAN_SESSION_LUN}
        self.make(f"{session.path}/lun{number}", contents)

    # ALUA.

    def add_device_group(self, name: str, devices: Iterable[str]) -> None:
        path = f"device_groups/{name}"
        self.make(path, {})
        self.make(f"{path}/devices", {"mgmt": layout.GROUP_DEVICES_MGMT})
        self.make(f"{path}/target_groups", {"mgmt": layout.DEVICE_GROUPS_MGMT})
        for device in devices:
            self.link(f"{path}/devices/{device}", f"devices/{device}")

    def add_target_group(
        self,
        device_group: str,
        name: str,
        *,
        number: int,
        state: str = "active",
        targets: Iterable[Target] = (),
        remote: Mapping[str, int] | None = None,
    ) -> None:
        """Add targets of this machine, and of others, these with their relative ids."""
        path = f"device_groups/{device_group}/target_groups/{name}"
        self.make(
            path,
            {
                "group_id": f"{number}\n{layout.KEY}",
                "mgmt": layout.TARGET_GROUP_MGMT,
                "preferred": "0\n",
                "state": f"{state}\n{layout.KEY}",
            },
        )
        for target in targets:
            self.link(f"{path}/{target.name}", target.path)
        for other, relative_id in (remote or {}).items():
            self.make(f"{path}/{other}", {"rel_tgt_id": f"{relative_id}\n{layout.KEY}"})

    # Attributes.

    def set(self, attribute: str, value: str, *, is_key: bool = False) -> None:
        """Change a value; what stands after its line, such as an empty line, stays as it is."""
        path = self.path / attribute
        rest = path.read_text().partition("\n")[2].removeprefix(layout.KEY)
        self.write(attribute, f"{value}\n{layout.KEY if is_key else ''}{rest}")

    def set_if_there(self, attribute: str, value: str) -> None:
        if (self.path / attribute).exists():
            self.set(attribute, value)

    def write(self, attribute: str, content: str) -> None:
        """Change a content, all at once."""
        draft = self._drafts / "draft"
        draft.write_text(content)
        draft.replace(self.path / attribute)

    def trouble(self, attribute: str, answer: Answer) -> None:
        """Have an attribute refuse, be late or hang until it is mended; needs root."""
        if self._mount is None:
            self._mount = AnswersMount(self._drafts / "answers").__enter__()
        path = self.path / attribute
        if attribute not in self._mended:
            self._mended[attribute] = self._drafts / f"mended-{len(self._mended)}"
            path.rename(self._mended[attribute])
        link = self._drafts / "link"
        link.symlink_to(self._mount.put(attribute.replace("/", "!"), answer))
        link.replace(path)

    def mend(self, attribute: str) -> None:
        """End the trouble; those who wait get the value."""
        kept = self._mended.pop(attribute)
        content = kept.read_bytes()
        kept.replace(self.path / attribute)
        if self._mount:
            self._mount.mend(attribute.replace("/", "!"), content)

    @property
    def held(self) -> bool:
        """Whether somebody waits for an attribute that hangs."""
        return self._mount is not None and self._mount.held.is_set()

    def make(self, path: str, contents: Mapping[str, str]) -> None:
        """Make a directory, unless it is there, and attributes in it."""
        directory = self.path / path if path else self.path
        directory.mkdir(exist_ok=True)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for name, content in contents.items():
                mode = _MODES.get(name, 0o644)
                file = os.open(name, os.O_WRONLY | os.O_CREAT, mode, dir_fd=descriptor)
                if content:
                    os.write(file, content.encode())
                os.close(file)
        finally:
            os.close(descriptor)

    def link(self, path: str, target: str) -> None:
        """Link to another place in the tree, relatively, as sysfs does."""
        relative = os.path.relpath(target, os.path.dirname(path))
        os.symlink(relative, self.path / path)


def large_tree(
    sysfs: Path, *, targets: int = 1_000, luns: int = 10_000, sessions: int = 5_000
) -> ScstTree:
    """Return a lean iSCSI tree of a size; with the usual one it has about 100,000 attributes."""
    tree = ScstTree(sysfs, is_lean=True)
    tree.add_driver("iscsi")
    for number in range(targets):
        tree.add_device(f"disk{number:05}", "vdisk_blockio", filename=f"/dev/mapper/lv{number:05}")
    each = max(1, luns // targets)
    for number in range(targets):
        target = tree.add_target("iscsi", f"iqn.2026-11.lab.example:t{number:05}")
        for lun in range(each):
            target.add_lun(lun, f"disk{(number + lun) % targets:05}")
        for index in range(number, sessions, targets):
            target.log_in(f"iqn.2026-11.lab.client:c{index:05}")
    return tree
