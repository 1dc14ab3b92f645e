"""One run of storewatchctl: which daemon, which form of answer, and the calls it makes."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from storewatch import clock, spool
from storewatch.ctl import words
from storewatch.ctl.output import Output
from storewatch.errors import CallError, ProtocolError
from storewatch.plain import PlainClient, socket_path
from storewatch.wire.params import Params

T = TypeVar("T")

CALL_TIMEOUT_S = 65.0
"""A little more than the daemon's own bound for a call."""

DELIVERY_S = 5.0
"""How long a command goes on bringing reports that were kept; what is left stays for later."""


class Session:
    """Where the daemon is, how answers are shown, and one connection, made when it is needed."""

    def __init__(self, out: Output) -> None:
        self.out = out
        self.as_json = False
        self.is_debugging = False
        self.timeout_s = CALL_TIMEOUT_S
        self.socket = socket_path()
        self._client: PlainClient | None = None

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def call(self, method: str, params: Params | None = None) -> bytes:
        """Return the JSON of a call's result.

        Raises:
            ClientError: there is none, and why.
        """
        if self._client is None:
            self._client = PlainClient(self.socket, timeout_s=self.timeout_s)
            self.deliver_spool(self._client)
        return self._client.call_raw(method, given(params))

    def ask(self, method: str, params: Params | None, kind: type[T]) -> T:
        """Return a call's result as its type.

        Raises:
            ClientError: there is none, and why.
        """
        return decoded(self.call(method, params), method, kind)

    def show(
        self, method: str, params: Params | None, kind: type[T], show: Callable[[T], None]
    ) -> T:
        """Make a call and show its result, as JSON where that was asked for.

        Raises:
            ClientError: there is none, and why.
        """
        answer = self.call(method, params)
        value = decoded(answer, method, kind)
        if self.as_json:
            self.out.json(answer)
        else:
            show(value)
        return value

    def spools(self) -> Iterator[Path]:
        """Yield the directories where this user's reports for this daemon may wait."""
        first = spool.directory(os.environ, self.socket)
        yield first
        private = spool.private_directory(os.environ, self.socket)
        if private != first:
            yield private

    def deliver_spool(self, client: PlainClient) -> None:
        """Bring the daemon what was kept while it was away, for DELIVERY_S; a refusal never fails
        this command.

        Raises:
            ClientError: the daemon went away.
        """
        until = clock.monotonic() + DELIVERY_S
        for directory in self.spools():
            try:
                delivery = spool.deliver(directory, client.call, until=until)
            except CallError as error:
                self.out.note(f"reports stay in {directory}: {error}")
                continue
            if delivery.delivered:
                kept = words.plural(delivery.delivered, "report")
                self.out.note(f"delivered {kept} kept while the daemon was away")
            for refusal in delivery.refused:
                self.out.note(f"the daemon will not take a kept report: {refusal}")


def given(params: Params | None) -> dict[str, Any]:
    """Return the parameters that were given: an older daemon need not know the others' names."""
    if params is None:
        return {}
    return {
        said: value
        for name, said in zip(
            params.__struct_fields__, params.__struct_encode_fields__, strict=True
        )
        if (value := getattr(params, name)) is not None
    }


def decoded(answer: bytes, method: str, kind: type[T]) -> T:
    """Return an answer as its type.

    Raises:
        ProtocolError: it is not of this type.
    """
    try:
        return msgspec.json.decode(answer, type=kind)
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"the daemon's answer to {method} is not as agreed: {error}") from error


def attempt(call: Callable[[], T]) -> T | str:
    """Return what a call gives, or why it gives nothing: for one part of several."""
    try:
        return call()
    except CallError as error:
        return str(error)
