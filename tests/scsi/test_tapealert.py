"""What the TapeAlert flags mean."""

import pytest

from storewatchd.scsi.tapealert import DRIVE_FLAGS, LIBRARY_FLAGS, Flag, Severity

CRITICAL_OF_DRIVES = {4, 5, 6, 9, 13, 14, 16, 20, 22, 23, 30, 31, 33, 38, *range(52, 58)}
WARNING_OF_DRIVES = {1, 2, 3, 7, 8, 15, 17, 18, 21, *range(24, 30), 32, 34, 35, 36, 37, 39}
WARNING_OF_DRIVES |= {50, 51, 58, 59, 60, 61}
INFO_OF_DRIVES = {10, 11, 12, 19}
LOADER_CRITICAL, LOADER_WARNING = {40, 41, 43, 44, 45}, {42, 46}
CRITICAL_OF_LIBRARIES = {1, 3, 4, 6, 9, 10, 11, 12, 16, 17, 18, 24, 30, 31}
WARNING_OF_LIBRARIES = {2, 5, 7, 8, 13, 14, 15, 19, 23, 25, 26, 27, 28, 29}
INFO_OF_LIBRARIES = {20, 21, 22, 32}


def of(flags: dict[int, Flag], severity: Severity | None) -> set[int]:
    return {number for number, flag in flags.items() if flag.severity is severity}


def test_severities_are_t10s() -> None:
    assert of(DRIVE_FLAGS, Severity.CRITICAL) == CRITICAL_OF_DRIVES | LOADER_CRITICAL
    assert of(DRIVE_FLAGS, Severity.WARNING) == WARNING_OF_DRIVES | LOADER_WARNING
    assert of(DRIVE_FLAGS, Severity.INFO) == INFO_OF_DRIVES
    assert of(DRIVE_FLAGS, None) == {47, 48, 49, 62, 63, 64}
    assert of(LIBRARY_FLAGS, Severity.CRITICAL) == CRITICAL_OF_LIBRARIES
    assert of(LIBRARY_FLAGS, Severity.WARNING) == WARNING_OF_LIBRARIES
    assert of(LIBRARY_FLAGS, Severity.INFO) == INFO_OF_LIBRARIES
    assert of(LIBRARY_FLAGS, None) == set(range(33, 65))


@pytest.mark.parametrize("flags", [DRIVE_FLAGS, LIBRARY_FLAGS], ids=["drive", "library"])
def test_every_flag_has_a_name_and_one_sentence_of_advice(flags: dict[int, Flag]) -> None:
    assert list(flags) == list(range(1, 65))
    assert all(number == flag.number for number, flag in flags.items())
    assert len({flag.name for flag in flags.values()}) == 64
    for flag in flags.values():
        assert flag.advice.endswith(".")
        assert flag.advice.count(". ") == 0


def test_a_number_means_one_thing_for_a_drive_and_another_for_a_library() -> None:
    assert DRIVE_FLAGS[16].name == "forced eject"
    assert LIBRARY_FLAGS[16].name == "library door"
    assert LIBRARY_FLAGS[16].advice == "A door is open and nothing moves: close it."
    assert DRIVE_FLAGS[62].name == "flag 62"
