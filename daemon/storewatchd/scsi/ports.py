"""Decodes log page 18h: the error counters of a drive's own ports (SPL-3 9.2.8.1 for SAS).

For Fibre Channel no standard that we know lays the counters out: such a port is named and its
bytes are kept.
"""

from dataclasses import dataclass
from enum import IntEnum

from storewatchd.errors import Malformed
from storewatchd.scsi.fields import span, uint
from storewatchd.scsi.logs import PROTOCOL_PORT, parse_log_page

PHY_BYTES = 48  # a phy's descriptor up to its last counter


class Protocol(IntEnum):
    """SPC-4 table 477; numbers that are not here are kept as such."""

    FIBRE_CHANNEL = 0x0
    PARALLEL = 0x1
    ISCSI = 0x5
    SAS = 0x6


@dataclass(frozen=True, slots=True)
class Phy:
    """One phy of a SAS port. `rate_bps` is None where no link is up. Counters begin at power on."""

    phy: int
    rate_bps: int | None
    sas_address: str
    attached_sas_address: str
    invalid_dwords: int
    disparity_errors: int
    synchronization_losses: int
    reset_problems: int


@dataclass(frozen=True, slots=True)
class Port:
    """A port. `protocol` is a Protocol where we know it; `phys` are those of a SAS port.

    `content` is what the port says after the protocol, for what is not decoded here.
    """

    port: int
    protocol: int
    phys: tuple[Phy, ...]
    content: bytes


_RATES = {0x8: 1.5, 0x9: 3, 0xA: 6, 0xB: 12, 0xC: 22.5}  # Gbit/s; SPL-3 table 26


def parse_ports(raw: bytes) -> tuple[Port, ...]:
    """Decode page 18h.

    Raises:
        Malformed: as `parse_log_page`, or a port or a phy of SAS is cut.
    """
    log = parse_log_page(raw, PROTOCOL_PORT)
    ports = []
    for parameter in log.parameters:
        content = parameter.value
        if not content:
            raise Malformed(log.what, parameter.at, "a protocol")
        protocol = content[0] & 0x0F
        phys = _phys(content, log.what, parameter.at) if protocol == Protocol.SAS else ()
        ports.append(Port(parameter.code, protocol, phys, content[1:]))
    return tuple(ports)


def _phys(content: bytes, what: str, base: int) -> tuple[Phy, ...]:
    count = uint(content, 3, 1, what, base)
    phys = []
    at = 4
    for _ in range(count):
        # Before SAS-2 the descriptors told no length (byte 3 was reserved) and had 48 bytes.
        length = max(4 + uint(content, at + 3, 1, what, base), PHY_BYTES)
        descriptor = span(content, at, length, what, base)
        rate = _RATES.get(descriptor[5] & 0x0F)
        phys.append(
            Phy(
                phy=descriptor[1],
                rate_bps=None if rate is None else int(rate * 10**9),
                sas_address=descriptor[8:16].hex(),
                attached_sas_address=descriptor[16:24].hex(),
                invalid_dwords=uint(descriptor, 32, 4, what),
                disparity_errors=uint(descriptor, 36, 4, what),
                synchronization_losses=uint(descriptor, 40, 4, what),
                reset_problems=uint(descriptor, 44, 4, what),
            )
        )
        at += length
    return tuple(phys)
