"""What is packaged is what is in the tree, and the tree holds only what belongs there."""

import configparser
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = ("daemon", "client")

# Kept apart so that this file does not name them.
FORBIDDEN_WORDS = [
    *(
        "production[- ]re" + "ady",
        "enterprise[- ]gr" + "ade",
        "blaz" + "ing",
        "world[- ]cl" + "ass",
    ),
    *("seam" + "less", "NotImplemented" + "Error", "TO" + "DO", "FIX" + "ME"),
    *("/wo" + "rk/", "/root/" + r"\.pyenv", r"https?://(deb|security|files|registry|pypi)\."),
]


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / name for name in listed.stdout.split("\0") if (ROOT / name).is_file()]


def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def packages_in_tree() -> set[str]:
    return {
        ".".join(file.parent.relative_to(ROOT / source).parts)
        for source in SOURCES
        for file in (ROOT / source).rglob("__init__.py")
    }


def test_every_package_of_the_tree_is_listed() -> None:
    listed = set(setup_cfg()["options"]["packages"].split())
    assert listed == packages_in_tree()


def test_no_top_level_folder_is_a_package() -> None:
    # daemon/__init__.py would hide python-daemon, packaging/ the packaging library.
    assert not list(ROOT.glob("*/__init__.py"))


def test_no_key_is_set_in_both_files() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        pyproject = tomllib.load(file)
    assert "setuptools" not in pyproject["tool"]
    static = pyproject["project"].keys() - {"dynamic"}
    assert not static & setup_cfg()["metadata"].keys()


def test_the_root_holds_only_what_belongs_there() -> None:
    names = {file.relative_to(ROOT).parts[0] for file in tracked()}
    assert names <= {
        *("setup.cfg", "pyproject.toml", "daemon", "client", "packaging", "systemd", "tests"),
        *("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "LICENSE", ".ci", ".gitignore"),
    }


@pytest.mark.parametrize("pattern", FORBIDDEN_WORDS)
def test_no_tracked_file_says(pattern: str) -> None:
    found = []
    for file in tracked():
        if file.suffix == ".lock" or not file.is_file():
            continue
        text = file.read_bytes().decode(errors="replace")
        found += [f"{file.relative_to(ROOT)}: {match}" for match in re.findall(pattern, text)]
    assert not found


def test_every_dependency_of_the_lock_has_a_hash() -> None:
    text = (ROOT / "packaging" / "requirements.lock").read_text()
    entries = re.split(r"\n(?=[a-z])", text.strip())
    assert len(entries) > 40
    assert all("--hash=sha256:" in entry for entry in entries)


@pytest.mark.timeout(120)  # a whole build
def test_the_wheel_holds_every_module_and_data_file(tmp_path: Path) -> None:
    # Built in a copy: a build leaves its traces beside the sources.
    copy = tmp_path / "copy"
    for file in tracked():
        target = copy / file.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"),
            *("--no-cache-dir", "-w", str(tmp_path), "."),
        ],
        cwd=copy,
        capture_output=True,
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        str(file.relative_to(ROOT / source))
        for source in SOURCES
        for file in tracked()
        if file.is_relative_to(ROOT / source)
        and (file.suffix in (".py", ".sql", ".yml") or file.name == "py.typed")
    }
    assert wanted <= packed


def test_the_readers_unit_hides_nothing_that_the_reader_looks_at() -> None:
    unit = (ROOT / "systemd" / "storewatch-reader.service").read_text()
    settings = dict(line.split("=", 1) for line in unit.splitlines() if re.match("[A-Z]", line))
    # Hidden modules would look like missing ones, and the next start like one that fails.
    hiding = {"ProtectKernelModules", "PrivateDevices", "InaccessiblePaths", "TemporaryFileSystem"}
    assert not hiding.intersection(settings)
    assert settings["CapabilityBoundingSet"] == "~CAP_SYS_MODULE"
    assert settings["SystemCallFilter"] == "~@module"
