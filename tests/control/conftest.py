"""A running control plane for the tests of its parts."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from control.fix_control import Control, open_control


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[Control]:
    """A control plane whose PostgreSQL is away."""
    async with open_control(tmp_path) as control:
        yield control
