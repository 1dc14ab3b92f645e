"""Persistent reservations, as real hosts made them, and what odd content comes to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.fix_probes import by_labels
from probes.scst.fix_scst import ONE, device, rarely_seen
from storewatchd.probes.scst.accumulate import Ledger
from storewatchd.probes.scst.families import slow_rows
from storewatchd.probes.scst.reservations import MOST_BYTES, Reservation, parse_reservation

REGISTRANTS_ONLY = "run1/11-persistent-reservation"
EXCLUSIVE = "run2/03-pr-exclusive-conflict"

ISCSI = "45 00 00 08" + b"iqn.a,i,0x1".hex().ljust(48, "0")


def text(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in ("version 1", *lines)).encode()


def registrant(transport_id: str, *, holds: bool = True) -> str:
    digits = transport_id.replace(" ", "")
    return f"registrant 1 0000000000000aaa {int(holds)} {len(digits) // 2} {digits}"


@pytest.mark.parametrize(
    ("name", "disk", "reservation"),
    [
        pytest.param(
            REGISTRANTS_ONLY,
            "disk02",
            Reservation(1, "write exclusive, registrants only", ONE, 1),
            id="one registrant",
        ),
        pytest.param(
            EXCLUSIVE, "disk01", Reservation(2, "exclusive access", ONE, 2), id="two of them"
        ),
        pytest.param(REGISTRANTS_ONLY, "disk01", Reservation(), id="never used"),
        # SPC-2's reservations are none of these: SCST does not tell of them.
        pytest.param("run2/02-spc2-reserved-conflict", "disk01", Reservation(), id="SPC-2"),
    ],
)
def test_what_hosts_reserved_is_told(name: str, disk: str, reservation: Reservation) -> None:
    assert device(rarely_seen(name), disk).reservation == reservation


def test_reservations_are_told_by_device() -> None:
    rows = slow_rows(rarely_seen(EXCLUSIVE), Ledger())
    assert by_labels(rows["scst_device_reservation"]) == {
        ("disk01", "exclusive access", ONE): 1.0,
    }
    assert by_labels(rows["scst_device_registrants"])["disk01",] == 2
    assert by_labels(rows["scst_device_registrants"])["blk01",] == 0
    assert by_labels(rows["scst_device_reservation_changes_total"])["disk01",] == 2


@pytest.mark.parametrize(
    ("transport_id", "holder"),
    [
        pytest.param("45 00 002c" + b"iqn.a,i,0x3".hex().ljust(88, "0"), "iqn.a", id="iSCSI"),
        pytest.param("05 00 0014" + b"iqn.a".hex().ljust(40, "0"), "iqn.a", id="iSCSI device"),
        pytest.param(
            "00 00000000000000 10000090fa5be27a 0000000000000000",
            "10:00:00:90:fa:5b:e2:7a",
            id="Fibre Channel",
        ),
        pytest.param("06 000000 5000c500a1b2c3d4" + "00" * 12, "50:00:c5:00:a1:b2:c3:d4", id="SAS"),
        pytest.param("04" + "00" * 23, "", id="SRP, which has no short name"),
        pytest.param("45 00 0004 69716e2e", "", id="too short"),
    ],
)
def test_the_holder_is_named_by_its_transport(transport_id: str, holder: str) -> None:
    found = parse_reservation(text("generation 1", "reservation 01 00", registrant(transport_id)))
    assert found == Reservation(1, "write exclusive", holder, 1)


def test_what_all_registrants_hold_nobody_holds() -> None:
    iscsi = registrant("05 00 0014" + b"iqn.a".hex().ljust(40, "0"))
    found = parse_reservation(text("generation 4", "reservation 07 00", iscsi))
    assert found == Reservation(4, "write exclusive, all registrants", "", 1)


def test_a_new_type_is_told_by_its_number() -> None:
    found = parse_reservation(text("generation 4", "reservation 0a 00"))
    assert found == Reservation(4, "type 10", "", 0)


MANY = text("generation 1", *[registrant("05 00 0014" + "00" * 20)] * 60)
assert len(MANY) > MOST_BYTES


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(-11, id="ask again"),
        pytest.param(None, id="absent"),
        pytest.param(b"version 2\ngeneration 1\n", id="another version"),
        pytest.param(text("generation 1")[:-1], id="cut off"),
        pytest.param(text("generation 1", "registrant 1 aaa 1 24"), id="no TransportID"),
        pytest.param(text("generation 1", "registrant 1 0000000000000aaa 1 4 ff"), id="length"),
        pytest.param(text("generation 1", "something new"), id="another line"),
        pytest.param(MANY[:MOST_BYTES], id="cut off at a page"),
        pytest.param(MANY, id="more than a page"),
    ],
)
def test_what_is_not_told_in_full_is_not_known(content: bytes | int | None) -> None:
    assert parse_reservation(content) is None


WHOLE = text(
    "generation 2",
    "reservation 03 00",
    registrant("45 00 002c" + b"iqn.a,i,0x3".hex().ljust(88, "0")),
)


@given(st.binary(max_size=200), st.integers(0, len(WHOLE)), st.integers(0, 255))
def test_garbled_reservations_harm_nothing(garbage: bytes, place: int, byte: int) -> None:
    flipped = WHOLE[:place] + bytes([byte]) + WHOLE[place + 1 :]
    for content in (garbage, flipped, WHOLE[:place] + garbage, WHOLE + garbage):
        found = parse_reservation(content)
        assert found is None or found.registrants >= 0


@given(st.integers(0, len(WHOLE) - 1))
def test_one_that_is_cut_off_has_no_holder_of_its_own(cut: int) -> None:
    found = parse_reservation(WHOLE[:cut])
    assert found is None or found.holder == ""
