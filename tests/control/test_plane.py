"""The control plane as a whole: every method of the contract, and who may call it."""

from control.fix_control import Control
from storewatch.wire import Code
from storewatch.wire.methods import METHODS

PERMISSIONS = ("monitoring:read", "monitoring:write", "monitoring:admin")


async def test_a_token_needs_each_methods_own_permission(control: Control) -> None:
    lacking = {
        needed: (await control.token(*(one for one in PERMISSIONS if one != needed)))[1]
        for needed in PERMISSIONS
    }
    guarded = {name: method.permission for name, method in METHODS.items() if method.permission}
    refused = {
        name: await control.refusal(name, auth=lacking[needed]) for name, needed in guarded.items()
    }
    assert refused == {
        name: (Code.FORBIDDEN, f"token test lacks {needed}") for name, needed in guarded.items()
    }


async def test_what_needs_no_permission_answers_any_token(control: Control) -> None:
    _, secret = await control.token("monitoring:read")
    free = [name for name, method in METHODS.items() if not method.permission]
    assert free == ["daemon.version", "health.get", "tokens.verify"]
    assert (await control.call("health.get", auth=secret))["node"] == control.node.monitor.node
    assert (await control.call("daemon.version", auth=secret))["version"] == "1.2.3"
    assert (await control.call("tokens.verify", auth=secret, secret=secret))["name"] == "test"
