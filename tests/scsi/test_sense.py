"""Sense data: keys, codes, and what they mean."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from storewatchd.errors import Malformed
from storewatchd.scsi.sense import Sense, SenseKey, meaning, parse_sense
from storewatchd.scsi.sense_codes import CODES, MEANINGS, WORDS, words


def fixed(key: int, asc: int, ascq: int, *, response: int = 0x70) -> bytes:
    return bytes([response, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0, asc, ascq, 0, 0, 0, 0])


@pytest.mark.parametrize(
    ("asc", "ascq", "sentence"),
    [
        (0x28, 0x00, "it became ready; the cartridge may be another one (28/00)"),
        (0x28, 0x01, "the mail slot was used (28/01)"),
        (0x29, 0x01, "it was switched on (29/01)"),
        (0x3F, 0x03, "what it says of itself has changed (3F/03)"),
        (0x3B, 0x12, "a magazine was taken out (3B/12)"),
        (0x2A, 0x10, "timestamp changed (2A/10)"),
        (0x28, 0x7F, "code 28/7F (28/7F)"),
        (0x83, 0x02, "vendor specific 83/02 (83/02)"),
    ],
)
def test_a_unit_attention_says_what_happened(asc: int, ascq: int, sentence: str) -> None:
    sense = parse_sense(fixed(6, asc, ascq))
    assert sense.is_unit_attention
    assert sense.sentence == f"unit attention: {sentence}"


@pytest.mark.parametrize(
    ("key", "asc", "ascq", "sentence"),
    [
        (2, 0x04, 0x01, "not ready: it is getting ready; a cartridge may be loading (04/01)"),
        (2, 0x04, 0x18, "not ready: a door is open (04/18)"),
        (2, 0x30, 0x03, "not ready: a cleaning cartridge is in the drive (30/03)"),
        (5, 0x53, 0x02, "illegal request: the cartridge is locked in (53/02)"),
        (5, 0x3B, 0x0D, "illegal request: the destination is full (3B/0D)"),
        (4, 0x53, 0x01, "hardware error: a cartridge could not be unloaded (53/01)"),
        (0xB, 0x4B, 0x07, "aborted command: connection lost (4B/07)"),
    ],
)
def test_other_keys_are_no_unit_attention(key: int, asc: int, ascq: int, sentence: str) -> None:
    sense = parse_sense(fixed(key, asc, ascq))
    assert not sense.is_unit_attention
    assert sense.sentence == sentence


def test_descriptor_format_says_the_same_as_fixed_format() -> None:
    assert parse_sense(bytes([0x72, 6, 0x28, 1, 0, 0, 0, 0])) == parse_sense(fixed(6, 0x28, 1))


@pytest.mark.parametrize(
    "raw", [fixed(6, 0x28, 0, response=0x71), bytes([0x73, 6, 0x28, 0, 0, 0, 0, 0])]
)
def test_deferred_sense_is_told_apart(raw: bytes) -> None:
    assert parse_sense(raw) == Sense(SenseKey.UNIT_ATTENTION, 0x28, 0x00, is_deferred=True)


def test_a_loading_drive_says_how_far_it_is() -> None:
    raw = bytes.fromhex("70 00 02 00 00 00 00 0a 00 00 00 00 04 01 00 80 80 00")
    assert parse_sense(raw).progress == 0.5
    described = bytes.fromhex("72 02 04 01 00 00 00 08 02 06 00 00 80 40 00 00")
    assert parse_sense(described).progress == 0.25


@pytest.mark.parametrize(
    "raw",
    [
        # SKSV is not set; the key is ILLEGAL REQUEST, where the field points into the CDB; cut.
        "70 00 02 00 00 00 00 0a 00 00 00 00 04 01 00 00 80 00",
        "70 00 05 00 00 00 00 0a 00 00 00 00 24 00 00 cf 00 02",
        "70 00 02 00 00 00 00 0a 00 00 00 00 04 01 00 80",
    ],
)
def test_progress_is_absent_where_it_is_not_said(raw: str) -> None:
    assert parse_sense(bytes.fromhex(raw)).progress is None


def test_marks_and_residue_of_a_tape_are_kept() -> None:
    expected = Sense(
        SenseKey.NO_SENSE,
        0x00,
        0x01,
        has_filemark=True,
        is_end_of_medium=True,
        is_incorrect_length=True,
        information=0x10000,
    )
    raw = bytes.fromhex("f0 00 e0 00 01 00 00 0a 00 00 00 00 00 01 00 00 00 00")
    assert parse_sense(raw) == expected
    described = bytes.fromhex(
        "72 00 00 01 00 00 00 10 00 0a 80 00 00 00 00 00 00 01 00 00 04 02 00 e0"
    )
    assert parse_sense(described) == expected


@pytest.mark.parametrize(
    "descriptors",
    [
        "00 0a 00 00 00 00 00 00 00 01 00 00",  # VALID is not set
        "00 02 80 00",  # too short for a number
        "04 01 00",  # too short for its marks
        "0b 02 00 00",  # of another kind
        "04 0a 00 e0",  # longer than what is there
        "04",
    ],
)
def test_a_descriptor_that_says_nothing_is_no_zero(descriptors: str) -> None:
    rest = bytes.fromhex(descriptors)
    raw = bytes([0x72, 0x02, 0x3A, 0x00, 0, 0, 0, len(rest)]) + rest
    assert parse_sense(raw) == Sense(SenseKey.NOT_READY, 0x3A, 0x00)


@pytest.mark.parametrize("length", [3, 7, 8, 13])
def test_a_code_that_was_cut_off_is_absent(length: int) -> None:
    sense = parse_sense(fixed(6, 0x28, 1)[:length])
    assert (sense.asc, sense.ascq, sense.code) == (None, None, "")
    assert sense.sentence == "unit attention"


def test_a_code_beyond_the_length_that_is_meant_is_absent() -> None:
    assert parse_sense(bytes([0x70, 0, 6, 0, 0, 0, 0, 2, *range(10)])).asc is None


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("", "sense data, byte 0: expected 1 bytes, found 0"),
        ("00 00 00 00", "sense data, byte 0: expected a response code from 70h to 73h, found 00h"),
        ("70 00", "sense data, byte 2: expected 3 bytes, found 2"),
        ("72 06 28 01", "sense data, byte 4: expected 8 bytes, found 4"),
    ],
)
def test_what_cannot_be_sense_data_is_malformed(raw: str, message: str) -> None:
    with pytest.raises(Malformed, match=f"^{re.escape(message)}$"):
        parse_sense(bytes.fromhex(raw))


@given(st.binary(max_size=64))
@example(b"\x72" + bytes(7))
def test_hostile_sense_is_malformed_or_honest(raw: bytes) -> None:
    try:
        sense = parse_sense(raw)
    except Malformed:
        return
    assert raw[0] & 0x7F in (0x70, 0x71, 0x72, 0x73)
    assert sense.key == (raw[2] if raw[0] & 0x7F < 0x72 else raw[1]) & 0x0F
    assert (sense.asc is None) == (sense.ascq is None)
    assert sense.progress is None or 0 <= sense.progress < 1
    assert sense.sentence


def test_no_two_codes_have_the_same_words() -> None:
    assert len(CODES) == len(WORDS)
    assert all(WORDS[code].casefold() == text for text, code in CODES.items())


def test_every_meaning_belongs_to_a_code_of_t10() -> None:
    assert MEANINGS.keys() <= WORDS.keys()


def test_words_are_t10s_and_meanings_are_ours() -> None:
    assert words(0x30, 0x03) == "cleaning cartridge installed"
    assert meaning(0x30, 0x03) == "a cleaning cartridge is in the drive"
    assert meaning(0x5B, 0x02) == words(0x5B, 0x02) == "log counter at maximum"
    assert words(0x44, 0x81) == "vendor specific 44/81"
