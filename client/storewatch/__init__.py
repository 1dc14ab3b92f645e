"""The client of a Storewatch daemon: an asynchronous one, a plain one, and the command line."""

from storewatch.client import Client
from storewatch.errors import CallError, ClientError, ConnectionLost, ProtocolError
from storewatch.plain import PlainClient

__all__ = [
    "CallError",
    "Client",
    "ClientError",
    "ConnectionLost",
    "PlainClient",
    "ProtocolError",
]
