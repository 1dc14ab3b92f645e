"""The client of a Storewatch daemon: an asynchronous one, a plain one, and the command line.

The names below are imported when they are first used, so that a short command does not pay for
what it does not need.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from storewatch.client import Client
    from storewatch.errors import (
        CallError,
        ClientError,
        ConnectionLost,
        ProtocolError,
        Unreachable,
        Unsendable,
    )
    from storewatch.plain import PlainClient
    from storewatch.stream import EventStream

__all__ = [
    "CallError",
    "Client",
    "ClientError",
    "ConnectionLost",
    "EventStream",
    "PlainClient",
    "ProtocolError",
    "Unreachable",
    "Unsendable",
]

_HOMES = {"Client": "client", "EventStream": "stream", "PlainClient": "plain"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'storewatch' has no attribute {name!r}")
    return getattr(importlib.import_module(f"storewatch.{_HOMES.get(name, 'errors')}"), name)
