"""Fixtures for tests against the real programs."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from system.appliance import Appliance, mounted_tmpfs


@pytest.fixture
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    """A state directory of its own; nothing runs yet."""
    # PostgreSQL's user must reach its data, and pytest closes its base directory to others.
    base = tmp_path_factory.mktemp("a")
    for directory in (base, *base.parents):
        if directory.stat().st_uid == os.geteuid() and directory != Path("/"):
            directory.chmod(directory.stat().st_mode | 0o055)
    appliance = Appliance(base)
    try:
        yield appliance
    finally:
        appliance.close()


@pytest.fixture
def running(appliance: Appliance) -> Appliance:
    """An appliance whose daemon is ready."""
    appliance.start()
    return appliance


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    with mounted_tmpfs(tmp_path / "disk", 200) as path:
        yield path
