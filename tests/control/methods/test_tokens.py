"""tokens.*: a secret is shown once, and a token is good until it is revoked or over."""

from typing import Any

import pytest

from control.fix_control import Control
from storewatch.wire import Code


async def test_a_token_is_made_and_its_secret_shown_once(control: Control) -> None:
    _, admin = await control.token("monitoring:admin")
    made = await control.call(
        "tokens.create",
        auth=admin,
        name="grafana",
        permissions=["monitoring:write", "monitoring:read"],
        ttl=60,
    )
    secret = made["secret"]
    assert secret.startswith("swt_")
    assert {**made["token"], "id": ""} == {
        "id": "",
        "name": "grafana",
        "permissions": ["monitoring:read", "monitoring:write"],
        "created_at": "2026-01-01T12:00:00.000Z",
        "created_by": "token test",
        "expires_at": "2026-01-01T12:01:00.000Z",
        "last_used_at": None,
        "revoked_at": None,
    }
    written = b"".join(record.data for record in await control.node.records())
    assert secret.encode() not in written
    assert secret not in str(await control.call("tokens.list"))


async def test_a_list_is_newest_first_and_says_when_each_was_used(control: Control) -> None:
    _, secret = await control.token("monitoring:read")
    control.node.clock.forward(1)
    await control.token("monitoring:read", ttl=60)
    control.node.clock.forward(1)
    await control.call("metrics.get", auth=secret)
    listed = (await control.call("tokens.list"))["tokens"]
    assert [(one["created_at"][17:19], one["last_used_at"]) for one in listed] == [
        ("01", None),
        ("00", "2026-01-01T12:00:02.000Z"),
    ]


async def test_a_good_token_is_known_with_its_permissions(control: Control) -> None:
    token_id, secret = await control.token("monitoring:read", ttl=60)
    assert await control.call("tokens.verify", secret=secret) == {
        "id": token_id,
        "name": "test",
        "permissions": ["monitoring:read"],
        "expires_at": "2026-01-01T12:01:00.000Z",
    }


async def test_which_token_is_bad_and_why_is_not_told(control: Control) -> None:
    revoked, of_revoked = await control.token("monitoring:read")
    await control.call("tokens.revoke", id=revoked)
    _, of_over = await control.token("monitoring:read", ttl=60)
    control.node.clock.forward(60)
    answers = {
        await control.refusal("tokens.verify", secret=secret)
        for secret in ("swt_unknown", of_revoked, of_over)
    }
    answers |= {
        await control.refusal("metrics.get", auth=secret)
        for secret in ("swt_unknown", of_revoked, of_over)
    }
    assert answers == {
        (Code.UNAUTHENTICATED, "the bearer token is unknown, expired or revoked"),
    }


async def test_a_token_is_revoked_once(control: Control) -> None:
    token_id, _ = await control.token("monitoring:read")
    revoked = await control.call("tokens.revoke", id=token_id)
    assert revoked["revoked_at"] == "2026-01-01T12:00:00.000Z"
    control.node.clock.forward(5)
    assert await control.call("tokens.revoke", id=token_id) == revoked


async def test_what_is_no_token_cannot_be_revoked(control: Control) -> None:
    assert await control.refusal("tokens.revoke", id="none") == (
        Code.NOT_FOUND,
        "there is no token 'none'",
    )


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        pytest.param(
            {"permissions": []}, "permissions: expected a list of at least 1 element", id="none"
        ),
        pytest.param(
            {"permissions": ["root"]},
            "permissions[0]: expected one of monitoring:admin, monitoring:read, monitoring:write,"
            " found 'root'",
            id="unknown",
        ),
        pytest.param(
            {"permissions": ["monitoring:read"], "ttl": 0}, "ttl: expected a number > 0.0", id="ttl"
        ),
    ],
)
async def test_a_token_needs_permissions_and_a_time(
    control: Control, params: dict[str, Any], sentence: str
) -> None:
    assert await control.refusal("tokens.create", name="x", **params) == (
        Code.INVALID_PARAMS,
        sentence,
    )


async def test_tokens_come_and_go_with_an_event_and_in_the_audit(control: Control) -> None:
    await control.call("events.subscribe", types=["system"])
    token_id, _ = await control.token("monitoring:read")
    await control.call("tokens.revoke", id=token_id)
    heard = [await control.event() for _ in range(2)]
    assert [(one["kind"], one["data"]["id"]) for one in heard] == [
        ("token_created", token_id),
        ("token_revoked", token_id),
    ]
    assert [line["action"] for line in await control.node.audit()] == ["PutToken", "RevokeToken"]
