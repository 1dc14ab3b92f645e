"""Who is at the other end of a Unix socket, by the kernel's word."""

import errno
import grp
import os
import pwd
import socket
import struct
from dataclasses import dataclass

from storewatchd.core.permissions import Caller, PeerGroups, judge_peer

# asm-generic/socket.h; the socket module has no name for it. SO_PEERCRED alone gives the primary
# group only.
SO_PEERGROUPS = 59

_GROUPS_BYTES = 1024  # the most that Python's getsockopt takes: 256 groups


@dataclass(frozen=True, slots=True)
class Peer:
    """The credentials that the peer had when it connected."""

    pid: int
    uid: int
    groups: frozenset[int]

    @property
    def name(self) -> str:
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return f"uid {self.uid}"


def peer_of(connection: socket.socket) -> Peer:
    """Return the credentials of a connected Unix socket's peer."""
    pid, uid, gid = struct.unpack(
        "iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    )
    return Peer(pid, uid, frozenset({gid}) | _groups(connection, uid))


def _groups(connection: socket.socket, uid: int) -> frozenset[int]:
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, _GROUPS_BYTES)
    except OSError as error:
        if error.errno != errno.ERANGE:
            raise
        # More groups than fit: take them from the user database, as login does.
        return groups_of(uid)
    return frozenset(struct.unpack(f"{len(raw) // 4}I", raw))


def groups_of(uid: int) -> frozenset[int]:
    """Return the groups of a user by the user database; none where it does not know the user."""
    try:
        about = pwd.getpwuid(uid)
    except KeyError:
        return frozenset()
    return frozenset(os.getgrouplist(about.pw_name, about.pw_gid))


def judge(peer: Peer, groups: PeerGroups) -> Caller:
    """Return what this peer may do."""
    return judge_peer(
        uid=peer.uid, groups=peer.groups, own_uid=os.geteuid(), known=groups, name=peer.name
    )


def group_number(name: str) -> int | None:
    """Return the number of a local group, or None where it does not exist."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None
