"""Peers and tokens: what each may do, and what is kept of a secret."""

import pytest

from storewatchd.core.permissions import (
    EVERYTHING,
    NOTHING,
    READ_ONLY,
    READ_WRITE,
    PeerGroups,
    Permission,
    Token,
    TokenBook,
    digest_of,
    judge_peer,
    new_secret,
)

NOON = 1_767_268_800.0
GROUPS = PeerGroups(read=10, write=20)


@pytest.mark.parametrize(
    ("uid", "groups", "may"),
    [
        pytest.param(0, set(), EVERYTHING, id="root"),
        pytest.param(500, set(), EVERYTHING, id="the daemon's own user"),
        pytest.param(1000, {20}, READ_WRITE, id="group that writes"),
        pytest.param(1000, {10, 20}, READ_WRITE, id="both groups"),
        pytest.param(1000, {10}, READ_ONLY, id="group that reads"),
        pytest.param(1000, {30}, NOTHING, id="stranger"),
    ],
)
def test_a_peer_may_what_its_user_and_groups_may(
    uid: int, groups: set[int], may: frozenset[Permission]
) -> None:
    caller = judge_peer(uid=uid, groups=frozenset(groups), own_uid=500, known=GROUPS, name="x")
    assert (caller.permissions, caller.name, caller.token_id) == (may, "x", None)


def test_groups_that_do_not_exist_give_nothing() -> None:
    none = PeerGroups(read=None, write=None)
    caller = judge_peer(uid=7, groups=frozenset({10, 20}), own_uid=500, known=none, name="x")
    assert caller.permissions == NOTHING


def token(secret: str, **more: float | None) -> Token:
    return Token(
        id="t1",
        name="grafana",
        permissions=READ_ONLY,
        digest=digest_of(secret),
        created_at=NOON,
        created_by="root",
        **more,
    )


def test_secrets_differ_and_are_long() -> None:
    assert len({new_secret() for _ in range(100)}) == 100
    assert len(new_secret()) >= 43


def test_a_good_secret_is_known_and_its_use_noted() -> None:
    book = TokenBook()
    book.put(token("s"))
    assert book.last_used("t1") is None
    assert book.verify("s", NOON) == token("s")
    assert book.last_used("t1") == NOON


@pytest.mark.parametrize(
    ("secret", "more"),
    [
        pytest.param("x", {}, id="unknown"),
        pytest.param("s", {"revoked_at": NOON}, id="revoked"),
        pytest.param("s", {"expires_at": NOON}, id="expired"),
    ],
)
def test_a_bad_one_is_not_and_why_is_not_told(secret: str, more: dict[str, float]) -> None:
    book = TokenBook()
    book.put(token("s", **more))
    assert book.verify(secret, NOON) is None


def test_a_later_version_replaces_the_earlier() -> None:
    book = TokenBook()
    book.put(token("s"))
    book.put(token("s").revoked(NOON))
    assert book.verify("s", NOON) is None
    assert [one.revoked_at for one in book.all()] == [NOON]
    assert book.get("t1") == book.all()[0]


def test_what_is_kept_and_what_is_shown() -> None:
    kept = token("s", expires_at=NOON + 5).to_state()
    assert Token.from_state(kept) == token("s", expires_at=NOON + 5)
    assert "s" not in kept.values()
    shown = token("s").to_json(last_used_at=NOON)
    assert "digest" not in shown
    assert shown["last_used_at"] == "2026-01-01T12:00:00.000Z"
