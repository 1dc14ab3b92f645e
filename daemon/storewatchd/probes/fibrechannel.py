"""Fibre Channel ports of this machine: their state, speed, who is logged in, and their errors.

Layout: scsi_transport_fc.c of the kernel (6.1), and Documentation/scsi/scsi_fc_transport.rst; the
names of the `node_` metrics are node_exporter's. The state of a port is what its driver knows. Its
statistics are asked of the adapter, by some drivers (qla2xxx) with a command to its firmware for
each attribute: so they are a probe of their own, a port a scope, and asked once a minute.
"""

import re
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from storewatchd.clock import Clock
from storewatchd.core.frames import Frame, Row, Scope
from storewatchd.errors import ProbeAbsent
from storewatchd.port import Port
from storewatchd.probes.base import Legible, check_permitted, counter, gauge, seen

AGAIN_AFTER_S = 60.0
"""How often an adapter is asked for its statistics."""

EXPECTED_FOR_S = 14 * 86_400.0
"""For how long a port is expected to be online that was."""

Attributes = Mapping[str, bytes | int]

GONE = "gone"
"""The state of a port that the kernel does not know any more; its own words are the others."""

# scsi_transport_fc.c, fc_port_state_names.
_STATES = (
    *("online", "linkdown", "offline", "blocked", "bypassed", "diagnostics", "error"),
    *("loopback", "deleted", "not_present", "unknown", GONE),
)

# How node_exporter calls the label, and the attribute.
_INFO = (
    *("speed", "port_state", "port_type", "port_id", "port_name", "fabric_name"),
    *("symbolic_name", "supported_classes", "supported_speeds", "dev_loss_tmo"),
)

_STATISTICS = (
    ("dumped_frames", "dumped_frames_total", "Frames that the adapter had no room for."),
    ("error_frames", "error_frames_total", "Frames that were damaged."),
    ("fcp_packet_aborts", "fcp_packet_aborts_total", "Exchanges that were aborted."),
    ("invalid_crc_count", "invalid_crc_total", "Frames with a wrong check sum."),
    ("invalid_tx_word_count", "invalid_tx_words_total", "Words that are none."),
    ("link_failure_count", "link_failure_total", "Failures of the link."),
    ("loss_of_signal_count", "loss_of_signal_total", "Losses of the signal."),
    ("loss_of_sync_count", "loss_of_sync_total", "Losses of synchronisation."),
    ("nos_count", "nos_total", "Times that the other side was not operational."),
    ("rx_frames", "rx_frames_total", "Frames that were received."),
    ("rx_words", "rx_words_total", "Words of 4 bytes that were received."),
    (
        "seconds_since_last_reset",
        "seconds_since_last_reset_total",
        "Time since the statistics were reset.",
    ),
    ("tx_frames", "tx_frames_total", "Frames that were sent."),
    ("tx_words", "tx_words_total", "Words of 4 bytes that were sent."),
)

# Those that tell of a bad link are told by the port's own name too, which no start changes.
_BY_PORT = frozenset(
    (
        *("link_failure_total", "loss_of_sync_total", "loss_of_signal_total"),
        *("invalid_crc_total", "fcp_packet_aborts_total"),
    )
)

FAMILIES = (
    gauge("node_fibrechannel_info", "What a port is.", "fc_host", *_INFO),
    gauge("fc_host_info", "How the kernel calls a port.", "port", "fc_host"),
    gauge("fc_host_port_state", "Which state a port is in.", "port", "state"),
    gauge("fc_host_port_expected", "Whether it was online in the last 14 days.", "port"),
    gauge("fc_host_speed_bits_per_second", "The speed of its link.", "port"),
    gauge("fc_remote_ports", "Ports of others that it knows, by their state.", "port", "state"),
)

STATISTICS_FAMILIES = (
    *(counter(f"node_fibrechannel_{name}", text, "fc_host") for _, name, text in _STATISTICS),
    *(
        counter(f"fc_host_{name}", text, "port")
        for _, name, text in _STATISTICS
        if name in _BY_PORT
    ),
)

_HEXADECIMAL = re.compile(r"0x([0-9a-f]{1,16})")
_SPEED = re.compile(r"([0-9]{1,4}) Gbit")
_RPORT = re.compile(r"rport-([0-9]{1,10}):[0-9]{1,10}-[0-9]{1,10}")
_ALL_ONES = (1 << 64) - 1

Rows = dict[str, list[Row]]


@dataclass(frozen=True, slots=True)
class HostPort:
    """A port of this machine. `port` is its world wide port name, as SCST calls its target:
    `50:01:43:80:26:68:8e:5c`; that of the kernel, where it has none."""

    fc_host: str
    port: str
    state: str  # a word of _STATES or the kernel's own; "" where it could not be read
    speed_bits: float | None = None  # None too where there is no link
    facts: tuple[str, ...] = ()  # as node_exporter tells them
    remote: tuple[str, ...] = ()  # the states of the ports of others


def parse_ports(attributes: Attributes) -> list[HostPort]:
    """Return the ports below /sys/class, of `fc_host` and `fc_remote_ports`."""
    hosts: dict[str, dict[str, bytes | int]] = {}
    remote: dict[str, list[str]] = {}
    for path, content in attributes.items():
        kind, _, rest = path.partition("/")
        name, _, attribute = rest.partition("/")
        if kind == "fc_host":
            hosts.setdefault(name, {})[attribute] = content
        elif attribute == "port_state" and (found := _RPORT.fullmatch(name)):
            remote.setdefault(f"host{found[1]}", []).append(_state(content))
    ports: dict[str, HostPort] = {}
    for name, facts in sorted(hosts.items()):
        port = _world_wide_name(facts.get("port_name"))
        # Of a name that two of them claim only the first has it.
        port = name if port is None or port in ports else port
        ports[port] = _port(name, port, facts, remote.get(name, ()))
    return list(ports.values())


def _world_wide_name(content: bytes | int | None) -> str | None:
    found = _HEXADECIMAL.fullmatch(_words(content))
    return wwn(found[1]) if found and 0 < int(found[1], 16) < _ALL_ONES else None


def _port(name: str, port: str, facts: Attributes, remote: Iterable[str]) -> HostPort:
    speed = _SPEED.fullmatch(_words(facts.get("speed")))
    told = {label: _words(facts.get(label)) for label in _INFO}
    for label in ("port_id", "port_name", "fabric_name"):
        told[label] = told[label].removeprefix("0x")
    return HostPort(
        name,
        port,
        _state(facts.get("port_state")),
        speed_bits=float(speed[1]) * 1e9 if speed else None,
        facts=tuple(told.values()),
        remote=tuple(state for state in remote if state),
    )


def wwn(digits: str) -> str:
    """Return a world wide name in pairs, of its hexadecimal digits."""
    padded = digits.zfill(16)
    return ":".join(padded[place : place + 2] for place in range(0, 16, 2))


def parse_statistics(attributes: Attributes) -> dict[str, int]:
    """Return the statistics of a port by attribute. What an adapter does not count is all ones,
    and so is everything while it does not answer: neither is a number."""
    found = {}
    for path, content in attributes.items():
        number = _HEXADECIMAL.fullmatch(_words(content))
        if number and int(number[1], 16) != _ALL_ONES:
            found[path.rpartition("/")[2]] = int(number[1], 16)
    return found


class FibreChannelProbe:
    """Every port and its state. One that was online is remembered: while it is down, and when the
    kernel does not know it any more, as after an adapter has died, it is missed."""

    name = "fibrechannel"
    families = FAMILIES

    def __init__(self) -> None:
        self._online: dict[str, float] = {}  # when each port was seen online last, Unix seconds
        self._legible = Legible()
        self._state = threading.Lock()

    def to_plain(self) -> object:
        with self._state:
            return dict(self._online)

    def restore(self, kept: object) -> None:
        if isinstance(kept, dict):
            self._online = {
                port: float(at)
                for port, at in kept.items()
                if isinstance(port, str) and isinstance(at, (int, float))
            }

    async def discover(self, port: Port) -> tuple[Scope, ...]:
        return (Scope(self.name),)

    async def collect(self, port: Port, scope: Scope) -> Frame:
        reading = await port.read("sys.fc")
        needed = {path: one for path, one in reading.value.items() if _is_needed(path)}
        check_permitted(needed)
        self._legible.check(scope, needed)
        ports = parse_ports(reading.value)
        with self._state:
            self._note(ports, reading.at)
            if not ports and not self._online:
                raise ProbeAbsent("there is no Fibre Channel port")
            return seen(scope, _rows(ports, self._online))

    def _note(self, ports: Iterable[HostPort], at: float) -> None:
        self._online |= {one.port: at for one in ports if one.state == "online"}
        self._online = {
            port: seen_at for port, seen_at in self._online.items() if at - seen_at < EXPECTED_FOR_S
        }


class FibreChannelStatisticsProbe:
    """What the adapter of each port counts. A scope is a port, so that an adapter that does not
    answer blinds nothing but itself."""

    name = "fibrechannel_statistics"
    families = STATISTICS_FAMILIES

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._names: dict[str, str] = {}  # of ports, by the kernel's
        self._known: dict[str, tuple[float, Rows]] = {}  # and until when that will do
        self._legible = Legible()

    async def discover(self, port: Port) -> tuple[Scope, ...]:
        ports = parse_ports((await port.read("sys.fc")).value)
        self._names = {one.fc_host: one.port for one in ports}
        scopes = tuple(Scope(self.name, (("fc_host", one.fc_host),)) for one in ports)
        self._legible.keep(scopes)
        self._known = {name: known for name, known in self._known.items() if name in self._names}
        return scopes

    async def collect(self, port: Port, scope: Scope) -> Frame:
        fc_host = dict(scope.labels)["fc_host"]
        now = self._clock.monotonic()
        until, rows = self._known.get(fc_host, (now, {}))
        if until <= now:
            attributes = (await port.read("sys.fc.statistics", fc_host)).value
            if not attributes:
                raise ProbeAbsent(f"{fc_host} tells no statistics")
            check_permitted(attributes)
            self._legible.check(scope, attributes)
            rows = _statistics_rows(fc_host, self._names.get(fc_host, fc_host), attributes)
            self._known[fc_host] = (now + AGAIN_AFTER_S, rows)
        return seen(scope, rows)


def _rows(ports: Iterable[HostPort], online: Mapping[str, float]) -> Rows:
    rows: Rows = {family.name: [] for family in FAMILIES}
    states = {}
    for one in ports:
        rows["node_fibrechannel_info"].append(Row((one.fc_host, *one.facts), 1.0))
        rows["fc_host_info"].append(Row((one.port, one.fc_host), 1.0))
        states[one.port] = one.state
        if one.speed_bits is not None:
            rows["fc_host_speed_bits_per_second"].append(Row((one.port,), one.speed_bits))
        remote = Counter({"online": 0})
        remote.update(one.remote)
        for state, count in remote.items():
            rows["fc_remote_ports"].append(Row((one.port, state), float(count)))
    states = dict.fromkeys(online, GONE) | states
    for port, state in states.items():
        rows["fc_host_port_expected"].append(Row((port,), float(port in online)))
        if state:
            for other in dict.fromkeys((*_STATES, state)):
                row = Row((port, other), float(other == state))
                rows["fc_host_port_state"].append(row)
    return rows


def _statistics_rows(fc_host: str, port: str, attributes: Attributes) -> Rows:
    rows: Rows = {family.name: [] for family in STATISTICS_FAMILIES}
    numbers = parse_statistics(attributes)
    for attribute, name, _ in _STATISTICS:
        if attribute in numbers:
            value = float(numbers[attribute])
            rows[f"node_fibrechannel_{name}"].append(Row((fc_host,), value))
            if name in _BY_PORT:
                rows[f"fc_host_{name}"].append(Row((port,), value))
    return rows


def _is_needed(path: str) -> bool:
    """Whether nothing can be said of a port without an attribute. Ports of others come and go."""
    return path.startswith("fc_host/") and path.endswith(("/port_state", "/port_name"))


def _state(content: bytes | int | None) -> str:
    return _words(content).lower().replace(" ", "_")


def _words(content: bytes | int | None) -> str:
    """Return an attribute's text; nothing where it could not be read, or was cut off."""
    if not isinstance(content, bytes) or not content.endswith(b"\n"):
        return ""
    return content.decode(errors="backslashreplace").strip()
