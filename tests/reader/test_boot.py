"""What the reader tells of the next start: what is found, what is not, and no secret."""

import json
import os
import re
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storewatch_reader import boot
from storewatch_reader.boot import redacted
from storewatch_reader.roots import Roots


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    """Return the roots of an empty machine."""
    names = ("boot", "modules", "etc", "dev", "proc")
    for name in names:
        (tmp_path / name).mkdir()
    boot, modules, etc, dev, proc = (os.fspath(tmp_path / name) for name in names)
    return Roots(boot=boot, modules=modules, etc=etc, dev=dev, procfs=proc)


def put(root: str, path: str, text: str = "") -> None:
    place = Path(root, path)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)


# Kernels.


def test_kernels_are_told_with_what_says_which_is_next(roots: Roots) -> None:
    for name in ("vmlinuz-6.1.0-9-amd64", "vmlinuz-6.1.0-56-amd64", "initrd.img-6.1.0-56-amd64"):
        put(roots.boot, name)
    put(roots.boot, "vmlinuz-0-rescue-0123abc")
    put(roots.boot, "vmlinuz-6.1.0-9-amd64.dpkg-bak")
    Path(roots.boot, "..", "vmlinuz").symlink_to("boot/vmlinuz-6.1.0-56-amd64")
    put(roots.etc, "default/grub", '# GRUB_DEFAULT=7\nGRUB_DEFAULT="saved" # as chosen\n')
    put(roots.boot, "grub/grubenv", "# GRUB Environment Block\nsaved_entry=a>b\nnext_entry=\n####")
    put(roots.procfs, "sys/kernel/osrelease", "6.1.0-9-amd64\n")
    found = boot.kernels(roots, "")
    assert found == {
        "running": "6.1.0-9-amd64",
        "installed": ["6.1.0-56-amd64", "6.1.0-9-amd64"],
        "link": "6.1.0-56-amd64",
        "grub_default": "saved",
        "grub_entries": {"saved_entry": "a>b"},
        "initramfs": {"6.1.0-56-amd64": 0},
        "free_bytes": found["free_bytes"],
    }
    assert found["free_bytes"] > 0


def test_the_kernel_that_runs_is_told_by_the_machines_own_procfs(roots: Roots) -> None:
    found = boot.kernels(replace(roots, procfs="/proc"), "")
    assert found["running"] == os.uname().release


def test_where_there_is_no_kernel_that_is_told(roots: Roots) -> None:
    found = boot.kernels(roots, "")
    assert found == {
        "running": "",
        "installed": [],
        "link": "",
        "grub_default": None,
        "grub_entries": {},
        "initramfs": {},
        "free_bytes": found["free_bytes"],
    }
    assert boot.kernels(replace(roots, boot=f"{roots.boot}/none"), "")["free_bytes"] is None


# Modules.


@pytest.mark.parametrize("ending", ["ko", "ko.xz", "ko.zst", "ko.gz"])
def test_a_module_is_there_that_is_listed_and_a_file(roots: Roots, ending: str) -> None:
    put(
        roots.modules,
        "6.1/modules.dep",
        f"updates/dkms/scst.{ending}: kernel/lib/crc.ko\nextra/scst-vdisk.{ending}:\n"
        f"extra/mhvtl.{ending}:\nkernel/fs/ext4.ko:\n",
    )
    put(roots.modules, f"6.1/updates/dkms/scst.{ending}")
    put(roots.modules, f"6.1/extra/scst-vdisk.{ending}")
    put(roots.modules, f"6.1/updates/scst_user.{ending}")  # depmod did not run
    put(roots.modules, "6.1/modules.builtin", "kernel/drivers/scst/iscsi-scst.ko\nkernel/ext4.ko\n")
    put(roots.modules, "6.9/build")
    found = boot.modules(roots, "")
    assert found["kernels"] == {"6.1": ["iscsi_scst", "scst", "scst_vdisk"], "6.9": None}
    assert {version: set(marks) for version, marks in found["files"].items()} == {
        "6.1": {"scst", "scst_vdisk"},
        "6.9": set(),
    }
    before = found["files"]["6.1"]["scst"]
    put(roots.modules, f"6.1/updates/dkms/scst.{ending}", "anew")
    assert boot.modules(roots, "")["files"]["6.1"]["scst"] != before


def test_modules_that_are_loaded_are_told_if_anybody_asks_for_them(roots: Roots) -> None:
    put(roots.procfs, "modules", "scst 1 2 scst_vdisk, Live 0x0\next4 1 0 - Live 0x0\n")
    put(roots.etc, "mhvtl/device.conf")
    found = boot.modules(roots, "")
    assert found == {
        "kernels": {},
        "files": {},
        "loaded": ["scst"],
        "has_mhvtl_config": True,
    }


# Initial file systems.


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("initrd.img-6.1.0-56-amd64", "6.1.0-56-amd64"),
        ("initramfs-5.14.0-1.el9.x86_64.img", "5.14.0-1.el9.x86_64"),
        ("initrd-6.4.0-150600.21-default", "6.4.0-150600.21-default"),
        ("initramfs-5.14.0-1.el9.x86_64kdump.img", None),
        ("initramfs-0-rescue-0123abcd.img", None),
        ("initrd.img-6.1.0-56-amd64.old", None),
        ("initrd.img-6.1.0-56-amd64.new", None),
        ("initrd.img", None),
    ],
)
def test_initial_file_systems_are_told_by_kernel(
    roots: Roots, name: str, version: str | None
) -> None:
    put(roots.boot, name, "x" * 10)
    assert boot.kernels(roots, "")["initramfs"] == ({version: 10} if version else {})


# Units.


def test_units_are_enabled_by_links_and_scripts(roots: Roots) -> None:
    system = Path(roots.etc, "systemd/system")
    for folder in ("multi-user.target.wants", "scst.service.requires", "scst.service.d"):
        (system / folder).mkdir(parents=True)
    (system / "multi-user.target.wants/scst.service").symlink_to("/lib/systemd/system/x")
    (system / "scst.service.requires/zfs.target").symlink_to("/lib/systemd/system/y")
    (system / "mhvtl.target").symlink_to("/dev/null")
    put(roots.etc, "rc3.d/S01scst")
    put(roots.etc, "rc3.d/K01qla2x00t")
    assert boot.units(roots, "") == {
        "enabled": ["scst.service", "zfs.target"],
        "masked": ["mhvtl.target"],
        "scripts": ["scst"],
    }


# fstab.


def test_devices_of_fstab_are_there_or_not_and_options_are_not_told(roots: Roots) -> None:
    put(roots.dev, "disk/by-uuid/1234-ABCD")
    put(roots.dev, "disk/by-label/my\\x20disk")
    put(roots.dev, "vda1")
    put(
        roots.etc,
        "fstab",
        "# /dev/none / ext4\n"
        "/dev/vda1 / ext4 defaults 0 1\n"
        "UUID=1234-abcd /boot/efi vfat umask=0077 0 1\n"
        "LABEL=my\\040disk /a xfs\n"
        "LABEL=none /b\\040c xfs nofail,x-secret=hush 0 0\n"
        "UUID=5 /d xfs defaults 0 0\n"
        "//server/share /e cifs username=x,password=hush 0 0\n"
        "tmpfs /tmp tmpfs\n/swapfile none swap sw\n\nword\n",
    )
    found = boot.fstab(roots, "")
    assert [tuple(one.values()) for one in found["entries"]] == [
        ("/dev/vda1", "/", True, True),
        ("UUID=1234-abcd", "/boot/efi", True, True),
        ("LABEL=my disk", "/a", True, True),
        ("LABEL=none", "/b c", False, False),
        ("UUID=5", "/d", True, False),
    ]
    assert "hush" not in json.dumps(found)


def test_a_machine_without_fstab_has_no_devices_to_miss(roots: Roots) -> None:
    assert boot.fstab(roots, "") == {"exists": False, "entries": []}


# crypttab.


def test_devices_of_crypttab_are_there_or_not_and_keys_are_not_told(roots: Roots) -> None:
    put(roots.dev, "disk/by-uuid/1234-abcd")
    put(
        roots.etc,
        "crypttab",
        "# name device key options\n"
        "here UUID=1234-abcd /etc/keys/hush luks\n"
        "gone UUID=5\n"
        "late /dev/sdx1 none luks,nofail\n"
        "file /srv/container none\nword\n\n",
    )
    found = boot.crypttab(roots, "")
    assert found["exists"]
    assert [tuple(one.values()) for one in found["entries"]] == [
        ("UUID=1234-abcd", "here", True, True),
        ("UUID=5", "gone", True, False),
        ("/dev/sdx1", "late", False, False),
    ]
    assert "hush" not in json.dumps(found)


def test_a_machine_without_crypttab_has_no_devices_to_miss(roots: Roots) -> None:
    assert boot.crypttab(roots, "") == {"exists": False, "entries": []}


# What backup programs are told.

BAREOS = """\
Device {
  Name = LTO-1
  Media Type = LTO
  Archive Device = /dev/nst0
  Password = "hush"   # Archive Device = /dev/nst9
  # ArchiveDevice = /dev/nst8
  Changer Command = "/usr/lib/bareos/scripts/mtx-changer %c %o hush"
}
Device { Name = F; ArchiveDevice = /dev/nst7; Password = hush }
  archivedevice="/dev/tape/by-id/scsi-3500-nst" ;
  Archive Device = /srv/hush
  CHANGER  DEVICE = /dev/sg3 # the robot
  Control Device = "/dev/sg4" hush
"""


def test_of_a_backup_programs_configuration_only_names_of_devices_are_told(roots: Roots) -> None:
    put(roots.etc, "bareos/bareos-sd.conf", BAREOS)
    put(roots.etc, "bareos/bareos-sd.d/device/LTO-2.conf", "Archive Device = /dev/nst1\n")
    put(roots.etc, "bareos/bareos-sd.d/device/LTO-2.conf.rpmsave", "Archive Device = /dev/nst5\n")
    put(roots.etc, "bacula/bacula-sd.conf", "ArchiveDevice = /dev/nst2")
    found = boot.tape_names(roots, "")["devices"]
    assert [(one["file"], one["directive"], one["path"]) for one in found] == [
        ("bareos/bareos-sd.conf", "archive device", "/dev/nst0"),
        ("bareos/bareos-sd.conf", "archive device", "/dev/tape/by-id/scsi-3500-nst"),
        ("bareos/bareos-sd.conf", "changer device", "/dev/sg3"),
        ("bacula/bacula-sd.conf", "archive device", "/dev/nst2"),
        ("bareos/bareos-sd.d/device/LTO-2.conf", "archive device", "/dev/nst1"),
    ]
    assert "hush" not in json.dumps(found)


def test_without_a_backup_program_there_are_no_names(roots: Roots) -> None:
    assert boot.tape_names(roots, "") == {"devices": []}


@given(st.text(), st.text(alphabet="s3cr3tX"), st.integers(0, len(BAREOS)))
def test_no_line_but_those_of_devices_is_told(before: str, secret: str, length: int) -> None:
    for line in (f"{before}Password = {secret}", *BAREOS[:length].splitlines()):
        match = boot._TAPE_NAME.fullmatch(line)
        assert match is None or match["path"].startswith("/dev/")
        assert match is None or "hush" not in match["path"]


# Whether a start is planned.


def test_a_start_that_is_planned_is_told(roots: Roots, tmp_path: Path) -> None:
    roots = replace(roots, run=os.fspath(tmp_path / "run"))
    assert boot.reboot(roots, "") == {"at": None, "mode": "", "is_required": False}
    put(roots.run, "reboot-required", "*** System restart required ***\n")
    # systemd 252 writes this for `shutdown -r +60`.
    text = "USEC=1795474888123456\nWARN_WALL=1\nMODE=reboot\n"
    put(roots.run, "systemd/shutdown/scheduled", text)
    expected = {"at": 1795474888.123456, "mode": "reboot", "is_required": True}
    assert boot.reboot(roots, "") == expected


@given(st.text())
def test_of_garbage_no_start_is_planned(text: str) -> None:
    facts = dict(line.partition("=")[::2] for line in text.splitlines())
    with tempfile.TemporaryDirectory() as directory:
        put(directory, "systemd/shutdown/scheduled", "")
        path = Path(directory, "systemd/shutdown/scheduled")
        path.write_bytes(text.encode(errors="backslashreplace"))
        found = boot.reboot(Roots(run=directory), "")
    assert (found["at"] is None) == (re.fullmatch("[0-9]{1,16}", facts.get("USEC", "")) is None)


# scst.conf.

SECRET = "s3cr3t12charsX"
CONFIG = f"""\
# Automatically generated, {SECRET}
setup_id 0x1
HANDLER vdisk_fileio {{
\tDEVICE disk01 {{
\t\tfilename "/srv/a b.img"
\t\tusn USN1
\t}}
}}
TARGET_DRIVER iscsi {{
\tenabled 1
\tOutgoingUser "them {SECRET}"
\tTARGET iqn.a:b {{
\t\tIncomingUser "me {SECRET}"
\t\tincominguser1 "me {SECRET}"
\t\tChapSecret {SECRET}
\t\tLUN 0 disk01 {{
\t\t\tread_only 1
\t\t}}
\t\tGROUP hosts {{
\t\t\tINITIATOR *\\#127.0.0.1
\t\t}}
\t}}
}}
"""


def test_of_scst_conf_what_is_known_to_be_no_secret_leaves_the_worker(roots: Roots) -> None:
    put(roots.etc, "scst.conf", CONFIG)
    found = boot.scst_config(roots, "")
    assert found["exists"]
    assert SECRET not in found["text"]
    assert found["text"].splitlines() == [
        *("withheld", "HANDLER vdisk_fileio {", "DEVICE disk01 {", 'filename "/srv/a b.img"'),
        *("withheld", "}", "}", "TARGET_DRIVER iscsi {", "enabled 1", "withheld"),
        *("TARGET iqn.a:b {", "withheld", "withheld", "withheld", "LUN 0 disk01 {"),
        *("read_only 1", "}", "GROUP hosts {", "INITIATOR *\\#127.0.0.1", "}", "}", "}"),
    ]


@pytest.mark.parametrize(
    ("line", "left"),
    [
        (f'TARGET a {{ IncomingUser "me {SECRET}"', "TARGET"),
        (f'LUN 0 disk "{SECRET}"', "LUN"),
        (f"LUN 0 disk01 {{ IncomingUser {SECRET} }}", "LUN"),
        (f"filename /a {{ IncomingUser {SECRET} }}", "withheld"),
        (f"IncomingUser {SECRET} {{", "withheld {"),
        (f"  INCOMINGUSER {SECRET}", "withheld"),
        (f"}} IncomingUser {SECRET}", "withheld"),
    ],
)
def test_a_secret_in_an_odd_place_is_no_less_secret(line: str, left: str) -> None:
    assert list(redacted(line)) == [left]


@given(st.text(), st.sampled_from(["IncomingUser", "OutgoingUser", "CHAP_password"]), st.text())
def test_no_attribute_that_is_not_listed_leaves_the_worker(
    before: str, attribute: str, after: str
) -> None:
    text = f"{before}\n{attribute} {SECRET}{after}\n{before}"
    assert SECRET not in "\n".join(redacted(text))


def test_without_scst_conf_that_is_told(roots: Roots) -> None:
    assert boot.scst_config(roots, "") == {"exists": False, "text": ""}


def test_a_file_that_is_too_long_is_refused(roots: Roots) -> None:
    put(roots.etc, "scst.conf", "x")
    os.truncate(f"{roots.etc}/scst.conf", boot.CONFIG_BYTES + 1)
    with pytest.raises(OSError, match="File too large"):
        boot.scst_config(roots, "")


@given(st.binary())
def test_of_garbage_nothing_is_made_up(content: bytes) -> None:
    text = content.decode(errors="backslashreplace")
    known = {
        *boot._OBJECTS.split("|"),
        "withheld",
        "withheld {",
        *map(str.strip, text.splitlines()),
    }
    assert set(redacted(text)) <= known


@given(st.integers(0, len(CONFIG)))
def test_of_a_file_that_is_cut_off_no_secret_is_told(length: int) -> None:
    assert SECRET[:6] not in "\n".join(redacted(CONFIG[:length]))
