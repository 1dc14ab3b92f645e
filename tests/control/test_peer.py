"""Who is at the other end of a socket, by the kernel's word or the user database's."""

import errno
import grp
import os
import socket
import struct
from collections.abc import Iterator
from typing import cast

import pytest

from storewatchd.control.peer import (
    SO_PEERGROUPS,
    Peer,
    group_number,
    judge,
    peer_of,
)
from storewatchd.control.users import User
from storewatchd.core.permissions import (
    EVERYTHING,
    NOTHING,
    READ_ONLY,
    READ_WRITE,
    PeerGroups,
    Permission,
)

NOBODY = 2**32 - 3  # no user has it
GROUPS = PeerGroups(read=100_001, write=100_002)


class CrowdedSocket:
    """A socket whose peer has more groups than a buffer takes, or cannot tell its groups."""

    def __init__(self, uid: int, gid: int, error: int) -> None:
        self._credentials = struct.pack("iII", 7, uid, gid)
        self._error = error

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        assert level == socket.SOL_SOCKET
        if option == SO_PEERGROUPS:
            raise OSError(self._error, os.strerror(self._error))
        assert (option, size) == (socket.SO_PEERCRED, 12)
        return self._credentials

    @property
    def socket(self) -> socket.socket:
        """This, for what asks for a socket."""
        return cast("socket.socket", self)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_a_peer_is_known_by_the_kernels_word(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    peer = peer_of(ends[0])
    assert (peer.pid, peer.uid) == (os.getpid(), os.geteuid())
    assert peer.groups == {os.getegid(), *os.getgroups()}


def test_a_peer_of_more_groups_than_fit_has_those_of_the_user_database() -> None:
    peer = peer_of(CrowdedSocket(NOBODY, 123_456, errno.ERANGE).socket)
    assert (peer.groups, peer.has_more) == (frozenset({123_456}), True)
    user = User("ann", frozenset({100_001}))
    assert judge(peer, user, GROUPS).permissions == READ_ONLY
    few = Peer(peer.pid, peer.uid, peer.groups)
    assert judge(few, user, GROUPS).permissions == NOTHING  # the kernel has told them all


def test_a_kernel_that_does_not_tell_groups_is_an_error() -> None:
    with pytest.raises(OSError, match=os.strerror(errno.ENOPROTOOPT)):
        peer_of(CrowdedSocket(NOBODY, 123_456, errno.ENOPROTOOPT).socket)


@pytest.mark.parametrize(
    ("uid", "groups", "permissions"),
    [
        pytest.param(0, (), EVERYTHING, id="root"),
        pytest.param(os.geteuid(), (), EVERYTHING, id="the daemon's own user"),
        pytest.param(NOBODY, (100_001,), READ_ONLY, id="read group"),
        pytest.param(NOBODY, (100_001, 100_002), READ_WRITE, id="both groups"),
        pytest.param(NOBODY, (5,), NOTHING, id="anybody else"),
    ],
)
def test_a_peer_is_judged_by_user_and_groups(
    uid: int, groups: tuple[int, ...], permissions: frozenset[Permission]
) -> None:
    caller = judge(Peer(1, uid, frozenset(groups)), User("ann", frozenset()), GROUPS)
    assert (caller.name, caller.permissions, caller.token_id) == ("ann", permissions, None)


def test_a_group_that_is_not_there_has_no_number() -> None:
    known = grp.getgrgid(os.getegid())
    assert group_number(known.gr_name) == known.gr_gid
    assert group_number("no such group") is None
