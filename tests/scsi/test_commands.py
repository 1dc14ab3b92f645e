"""The names of commands."""

import pytest

from storewatchd.scsi.commands import command_name


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (0x00, "TEST UNIT READY"),
        (0x2A, "WRITE(10)"),
        (0x8A, "WRITE(16)"),
        (0xA5, "MOVE MEDIUM"),
        (0x91, "SYNCHRONIZE CACHE(16) or SPACE(16)"),
        (0xC7, "command C7h"),
    ],
)
def test_a_command_is_named_by_its_first_byte(code: int, name: str) -> None:
    assert command_name(code) == name
