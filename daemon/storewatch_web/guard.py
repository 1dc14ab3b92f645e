"""Who may talk to the sidecar at all: Host and Origin checks against pages that rebind names."""

from collections.abc import Iterable
from urllib.parse import urlsplit

from aiohttp import web

from storewatch_web.problems import Problem

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Guard:
    """The names under which this sidecar is reached, and the origins whose pages may call it."""

    def __init__(self, hosts: Iterable[str], origins: Iterable[str]) -> None:
        self._hosts = _LOOPBACK | {host.lower() for host in hosts}
        self._origins = frozenset(origin.lower().rstrip("/") for origin in origins)

    def check(self, request: web.Request) -> None:
        """Let a request pass.

        Raises:
            Problem: its Host is none of ours, or its Origin is another site.
        """
        host = request.headers.get("Host", "")
        name = _host_name(host)
        if name is None or (name not in self._hosts and name != _local_address(request)):
            hint = f"; start storewatch-web with --allow-host {name}" if name else ""
            raise Problem(421, f"this is not {host!r}{hint}")
        origin = request.headers.get("Origin")
        if origin is None or origin.lower().rstrip("/") in self._origins:
            return
        if origin.lower() not in (f"http://{host.lower()}", f"https://{host.lower()}"):
            raise Problem(403, f"pages of {origin} may not call this; see --allow-origin")


def _host_name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _local_address(request: web.Request) -> str | None:
    """Return the address at which the connection arrived: no name can be rebound to it."""
    if request.transport is None:
        return None
    name = request.transport.get_extra_info("sockname")
    return str(name[0]) if isinstance(name, tuple) else None
