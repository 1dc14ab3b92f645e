"""Who is at the other end of a Unix socket, by the kernel's word."""

import errno
import grp
import os
import socket
import struct
from dataclasses import dataclass

from storewatchd.control.users import User
from storewatchd.core.permissions import Caller, PeerGroups, judge_peer

# asm-generic/socket.h; the socket module has no name for it. SO_PEERCRED alone gives the primary
# group only.
SO_PEERGROUPS = 59

_GROUPS_BYTES = 1024  # the most that Python's getsockopt takes: 256 groups


@dataclass(frozen=True, slots=True)
class Peer:
    """The credentials that the peer had when it connected. `has_more` says that it has more groups
    than could be told: the user database knows them."""

    pid: int
    uid: int
    groups: frozenset[int]
    has_more: bool = False


def peer_of(connection: socket.socket) -> Peer:
    """Return the credentials of a connected Unix socket's peer."""
    pid, uid, gid = struct.unpack(
        "iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    )
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, _GROUPS_BYTES)
    except OSError as error:
        if error.errno != errno.ERANGE:
            raise
        return Peer(pid, uid, frozenset({gid}), has_more=True)
    return Peer(pid, uid, frozenset({gid, *struct.unpack(f"{len(raw) // 4}I", raw)}))


def judge(peer: Peer, user: User, groups: PeerGroups) -> Caller:
    """Return what this peer may do, who is this user."""
    mine = peer.groups | user.groups if peer.has_more else peer.groups
    return judge_peer(uid=peer.uid, groups=mine, own_uid=os.geteuid(), known=groups, name=user.name)


def group_number(name: str) -> int | None:
    """Return the number of a local group, or None where it does not exist."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None
