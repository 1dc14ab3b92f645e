"""What SCST's tree says, as values. None, or nothing in a mapping, is what could not be learnt.

Of a large tree there are tens of thousands; none of them can be part of a cycle, and the collector
of garbage need not look at them (`gc=False`).
"""

from collections.abc import Iterator, Mapping

from msgspec import Struct, field

from storewatchd.probes.scst.reservations import Reservation

DIRECTIONS = ("read", "write", "bidi", "none", "unknown")

MOST_PEERS = 20_000
"""How many initiators, and sessions that are gone, are remembered: anybody may log in under any
name."""

COPY_MANAGER = "copy_manager"
"""A driver that SCST has for its own: it exports every device to EXTENDED COPY, and to nobody."""


class Identity(Struct, frozen=True, gc=False):
    """What a session is, whatever its directory is called: a second one's name and that of one
    that came back end in `_1`. `sid` is empty for drivers that have none."""

    driver: str
    target: str
    initiator: str
    sid: str


class Counters(Struct, frozen=True, gc=False):
    """What has finished, by direction; SCST counts data in KiB, of read, write and bidi only."""

    commands: Mapping[str, int] = field(default_factory=dict)
    kib: Mapping[str, int] = field(default_factory=dict)
    unaligned: Mapping[str, int] = field(default_factory=dict)


class Lun(Struct, frozen=True, gc=False):
    """One device that a target or a group shows."""

    number: int
    device: str  # "" where its link could not be read
    is_read_only: bool | None = None


class Connection(Struct, frozen=True, gc=False):
    """One iSCSI connection of a session."""

    address: str
    state: str = ""  # words such as "established idle"
    transport: str = ""
    target_address: str = ""


class Session(Struct, frozen=True, gc=False):
    """An initiator that is logged in. `active` says how many commands each LUN is busy with."""

    directory: str
    identity: Identity | None  # None where its initiator's name could not be read
    counters: Counters = Counters()
    outstanding: int | None = None
    active: Mapping[int, int] = field(default_factory=dict)
    group: str = ""  # "" where it sees the target's own LUNs
    connections: tuple[Connection, ...] = ()
    negotiated: Mapping[str, str] = field(default_factory=dict)
    is_reinstating: bool | None = None
    dif_errors: Mapping[tuple[str, str], int] = field(default_factory=dict)  # by stage and tag


class Group(Struct, frozen=True, gc=False):
    """Initiators that see LUNs of their own. `initiators` are names and patterns."""

    name: str
    luns: tuple[Lun, ...] = ()
    initiators: tuple[str, ...] = ()
    black_hole: int | None = None


class Target(Struct, frozen=True, gc=False):
    driver: str
    name: str
    is_enabled: bool | None = None  # None too for drivers that cannot be disabled
    relative_id: int | None = None
    hardware: str = ""
    comment: str = ""
    black_hole: int | None = None
    is_forwarding: bool | None = None
    forwards_source: bool | None = None
    forwards_destination: bool | None = None
    luns: tuple[Lun, ...] = ()
    groups: tuple[Group, ...] = ()
    sessions: tuple[Session, ...] = ()

    def luns_of(self, group: str) -> tuple[Lun, ...]:
        """Return the LUNs that a group sees; those of no group see the target's own."""
        return next((one.luns for one in self.groups if one.name == group), self.luns)


class Driver(Struct, frozen=True, gc=False):
    """A target driver. `is_open` is of iscsi only: whether its daemon runs."""

    name: str
    is_open: bool | None = None
    targets: tuple[Target, ...] = ()


class Device(Struct, frozen=True, gc=False):
    """A device of SCST. One without a handler is a local SCSI device that nobody exports."""

    name: str
    handler: str = ""
    type: int | None = None  # the peripheral device type (SPC-4, 6.6.2)
    size_bytes: int | None = None
    is_active: bool | None = None
    blocked: int | None = None  # how often it is blocked
    block_pending: int | None = None  # how many blocks wait for its commands to end
    filename: str | None = None  # "" where it has none; of a virtual device
    t10_dev_id: str = ""
    usn: str = ""
    is_read_only: bool | None = None
    is_write_through: bool | None = None
    has_nv_cache: bool | None = None
    is_thin: bool | None = None
    is_direct: bool | None = None
    exports: int = 0
    reservation: Reservation | None = None  # None where nothing is known of it


class TargetGroup(Struct, frozen=True, gc=False):
    """Targets that have one ALUA state for the devices of a device group."""

    device_group: str
    name: str
    state: str = ""
    group_id: int | None = None
    is_preferred: bool | None = None


class Cache(Struct, frozen=True, gc=False):
    """One of SCST's caches of scatter-gather memory."""

    name: str
    hits: int
    allocations: int
    cached_pages: int | None = None


class Command(Struct, frozen=True, gc=False):
    """A command under way, by trace_cmds."""

    driver: str
    target: str
    initiator: str
    lun: int
    state: str
    age_s: int


class Scst(Struct, frozen=True, gc=False):
    """The whole tree. `asked_again` counts the attributes that said EAGAIN."""

    version: str = ""
    features: tuple[str, ...] = ()
    suspended: int | None = None
    threads: int | None = None
    poll_us: int | None = None
    is_management_pending: bool | None = None
    measures_latency: bool | None = None
    drivers: tuple[Driver, ...] = ()
    devices: tuple[Device, ...] = ()
    handlers: Mapping[str, int | None] = field(default_factory=dict)  # and the type that each has
    target_groups: tuple[TargetGroup, ...] = ()
    caches: tuple[Cache, ...] = ()
    inactive_pages: int | None = None
    commands: tuple[Command, ...] = ()
    asked_again: int = 0

    def exported(self) -> Iterator[Target]:
        """Yield the targets that initiators may log in to."""
        for driver in self.drivers:
            if driver.name != COPY_MANAGER:
                yield from driver.targets
