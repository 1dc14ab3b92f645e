"""The error counters of a drive's own ports: log page 18h."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi.fix_logs import log_page, parameter
from storewatchd.errors import Malformed
from storewatchd.scsi.ports import Phy, Port, Protocol, parse_ports


def phy(number: int, rate: int, counters: tuple[int, int, int, int], length: int = 44) -> bytes:
    head = bytes([0, number, 0, length, 0x10, rate, 0, 0])
    addresses = bytes.fromhex("500507604410a001 500507604410a0ff") + bytes(8)
    tail = bytes(max(4 + length - 48, 0))
    return head + addresses + b"".join(one.to_bytes(4, "big") for one in counters) + tail


def sas(*phys: bytes) -> bytes:
    return bytes([0x06, 0, 0, len(phys)]) + b"".join(phys)


@pytest.mark.parametrize("length", [0, 44, 60], ids=["before SAS-2", "bare", "with events"])
def test_a_sas_port_counts_errors_of_each_phy(length: int) -> None:
    content = sas(phy(0, 0x0B, (7, 6, 5, 4), length), phy(1, 0x00, (0, 0, 0, 0), length))
    (port,) = parse_ports(log_page(0x18, parameter(1, content)))
    assert (port.port, port.protocol) == (1, Protocol.SAS)
    assert port.phys == (
        Phy(0, 12 * 10**9, "500507604410a001", "500507604410a0ff", 7, 6, 5, 4),
        Phy(1, None, "500507604410a001", "500507604410a0ff", 0, 0, 0, 0),
    )


@pytest.mark.parametrize(
    ("code", "rate"),
    [(0x8, 1_500_000_000), (0x9, 3 * 10**9), (0xA, 6 * 10**9), (0xC, 22_500_000_000), (0x1, None)],
)
def test_the_rate_of_a_link_is_told_where_one_is_up(code: int, rate: int | None) -> None:
    (port,) = parse_ports(log_page(0x18, parameter(1, sas(phy(0, code, (0, 0, 0, 0))))))
    assert port.phys[0].rate_bps == rate


def test_a_port_of_another_protocol_is_named() -> None:
    raw = log_page(0x18, parameter(1, b"\x00\1\2\3"), parameter(2, b"\x05"))
    assert parse_ports(raw) == (
        Port(1, Protocol.FIBRE_CHANNEL, (), b"\1\2\3"),
        Port(2, Protocol.ISCSI, (), b""),
    )


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (log_page(0x18, parameter(1, b"")), "byte 8: expected a protocol"),
        (log_page(0x18, parameter(1, b"\6\0\0")), "byte 11: expected 12 bytes, found 11"),
        (log_page(0x18, parameter(1, b"\6\0\0\1")), "byte 12: expected 16 bytes, found 12"),
        (
            log_page(0x18, parameter(1, sas(phy(0, 8, (1, 2, 3, 4)))[:-1])),
            "byte 59: expected 60 bytes, found 59",
        ),
        (
            log_page(0x18, parameter(1, b"\6\0\0\2" + phy(0, 8, (1, 2, 3, 4)))),
            "byte 60: expected 64 bytes, found 60",
        ),
    ],
)
def test_a_port_that_was_cut_is_malformed(raw: bytes, message: str) -> None:
    with pytest.raises(Malformed, match=f"^{re.escape(f'log page 18h, {message}')}$"):
        parse_ports(raw)


@given(st.binary(max_size=120))
def test_garbage_is_malformed_or_named(content: bytes) -> None:
    try:
        ports = parse_ports(log_page(0x18, parameter(1, content)))
    except Malformed:
        return
    assert ports[0].protocol == content[0] & 0x0F
