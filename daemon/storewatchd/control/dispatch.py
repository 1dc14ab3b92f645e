"""From one line of JSON to the line that answers it.

Envelopes are checked here, element by element, so that one bad element of a batch spoils nothing;
jsonrpcserver dispatches what is left. Methods that never wait are called at once, the others in a
coroutine that the connection gives to a task.
"""

import difflib
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import jsonrpcserver
import msgspec
from jsonrpcserver import Error, Result, Success

from storewatch.wire import Code, encode
from storewatch.wire.methods import METHODS, Method
from storewatch.wire.sentences import sentence_of
from storewatchd.clock import Clock
from storewatchd.control.errors import CODES
from storewatchd.control.turns import Turns
from storewatchd.core.permissions import Caller
from storewatchd.errors import Forbidden, InvalidParams, JournalError, RequestError, Unavailable

if TYPE_CHECKING:
    from storewatchd.control.connection import Connection

logger = logging.getLogger(__name__)

MAX_BATCH = 100

Handler = Callable[["Call", Any], Any]


@dataclass(frozen=True, slots=True)
class Call:
    """Who calls, and over which connection."""

    caller: Caller
    connection: "Connection"


@dataclass(frozen=True, slots=True)
class _Element:
    """What one element of a request brings besides its parameters."""

    connection: "Connection"
    auth: str | None


class Dispatcher:
    """The methods of the control plane, and who may call them.

    `authenticate` returns the caller behind a bearer token, or raises Unauthenticated.
    """

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        authenticate: Callable[[str], Caller],
        turns: Turns | None = None,
    ) -> None:
        missing = METHODS.keys() ^ handlers.keys()
        if missing:
            raise ValueError(f"handlers and contract differ: {', '.join(sorted(missing))}")
        self._authenticate = authenticate
        self.turns = turns or Turns(Clock())
        """Whose turn on the loop it is: of this dispatcher's calls, one after the other."""
        self._prompt: dict[str, Callable[..., Result]] = {}
        self._waiting: dict[str, Callable[..., Awaitable[Result]]] = {}
        for name, handler in handlers.items():
            if inspect.iscoroutinefunction(handler):
                self._waiting[name] = self._waiting_method(METHODS[name], handler)
            else:
                self._prompt[name] = self._prompt_method(METHODS[name], handler)

    def answer(
        self, line: bytes, connection: "Connection"
    ) -> bytes | Coroutine[Any, Any, bytes | None] | None:
        """Return the answer to a line, None where there is none, or a coroutine that makes it."""
        try:
            document = msgspec.json.decode(line)
        except msgspec.DecodeError as error:
            return encode(_failure(Code.PARSE_ERROR, f"not JSON: {error}"))
        except RecursionError:
            return encode(_failure(Code.PARSE_ERROR, "nested too deep"))
        except UnicodeDecodeError as error:
            return encode(_failure(Code.PARSE_ERROR, f"not UTF-8: {error}"))
        # A search of every text is dear, and only an escape brings one in.
        may_hold_zero = b"\\u0000" in line
        if isinstance(document, list):
            return self._batch(document, connection, may_hold_zero)
        reply = self._element(document, connection, may_hold_zero)
        if inspect.iscoroutine(reply):
            return _encoded(reply)
        return None if reply is None else encode(reply)

    def _batch(
        self, elements: list[Any], connection: "Connection", may_hold_zero: bool
    ) -> bytes | Coroutine[Any, Any, bytes | None]:
        if not elements:
            return encode(_failure(Code.INVALID_REQUEST, "a batch has at least one element"))
        if len(elements) > MAX_BATCH:
            return encode(
                _failure(
                    Code.LIMIT_REACHED,
                    f"a batch has at most {MAX_BATCH} elements, this one has {len(elements)}",
                )
            )
        return self._batch_in_order(elements, connection, may_hold_zero)

    async def _batch_in_order(
        self, elements: list[Any], connection: "Connection", may_hold_zero: bool
    ) -> bytes | None:
        replies: list[bytes] = []
        for element in elements:
            # Each in its turn: a batch holds nobody up for all of its elements.
            if self._may_wait(element):
                await self.turns.perform(self.turns.charge_waiting)
                reply = self._element(element, connection, may_hold_zero)
                line = await _encoded(reply) if inspect.iscoroutine(reply) else encode(reply)
            else:
                line = await self.turns.perform(
                    partial(self._prompt_line, element, connection, may_hold_zero)
                )
            if line is not None:
                replies.append(line)
        return b"[" + b",".join(replies) + b"]" if replies else None

    def _may_wait(self, element: Any) -> bool:
        name = element.get("method") if isinstance(element, dict) else None
        return isinstance(name, str) and name in self._waiting

    def _prompt_line(
        self, element: Any, connection: "Connection", may_hold_zero: bool
    ) -> bytes | None:
        reply = self._element(element, connection, may_hold_zero)
        return None if reply is None else encode(reply)

    def _element(self, element: Any, connection: "Connection", may_hold_zero: bool) -> Any:
        problem = _envelope_problem(element)
        if not problem and may_hold_zero and (place := place_of_zero(element)) is not None:
            problem = f"{place} holds the character U+0000"
        if problem:
            known = element.get("id") if isinstance(element, dict) else None
            return _failure(
                Code.INVALID_REQUEST, problem, known if isinstance(known, str | int) else None
            )
        name = element["method"]
        context = _Element(connection, element.get("auth"))
        if name in self._prompt:
            return jsonrpcserver.dispatch_to_serializable(
                element,
                methods=self._prompt,
                context=context,
                deserializer=_as_is,
                validator=_as_is,
            )
        if name in self._waiting:
            return jsonrpcserver.async_dispatch_to_serializable(
                element,
                methods=self._waiting,
                context=context,
                deserializer=_as_is,
                validator=_as_is,
            )
        if "id" not in element:
            return None
        near = difflib.get_close_matches(name, METHODS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return _failure(
            Code.METHOD_NOT_FOUND, f"there is no method {name[:100]!r}{hint}", element["id"]
        )

    def _admit(self, method: Method, context: _Element, args: Any, named: Any) -> tuple[Call, Any]:
        if args:
            raise InvalidParams("parameters are named: send an object, not a list")
        caller = (
            context.connection.caller if context.auth is None else self._authenticate(context.auth)
        )
        if method.permission and method.permission not in caller.permissions:
            raise Forbidden(f"{caller.name} lacks {method.permission}", missing=method.permission)
        try:
            params = msgspec.convert(named, method.params)
        except msgspec.ValidationError as error:
            # The sentence says all that msgspec says, in the words of the contract.
            raise InvalidParams(sentence_of(error, method.params)) from None
        return Call(caller, context.connection), params

    def _prompt_method(self, method: Method, handler: Handler) -> Callable[..., Result]:
        def prompt(context: _Element, /, *args: Any, **named: Any) -> Result:
            try:
                call, params = self._admit(method, context, args, named)
                return Success(handler(call, params))
            except Exception as error:  # noqa: BLE001  one request is the boundary
                return _error_result(error)

        return prompt

    def _waiting_method(self, method: Method, handler: Handler) -> Callable[..., Awaitable[Result]]:
        async def waiting(context: _Element, /, *args: Any, **named: Any) -> Result:
            try:
                call, params = self._admit(method, context, args, named)
                return Success(await handler(call, params))
            except Exception as error:  # noqa: BLE001  one request is the boundary
                return _error_result(error)

        return waiting


async def _encoded(reply: Coroutine[Any, Any, Any]) -> bytes | None:
    answer = await reply
    return None if answer is None else encode(answer)


def place_of_zero(document: Any) -> str | None:
    """Return the name of a text that holds U+0000, which PostgreSQL cannot store; None if none
    does."""
    waiting = [("the request", document)]
    while waiting:
        place, one = waiting.pop()
        if isinstance(one, str) and "\0" in one:
            return place
        if isinstance(one, dict):
            waiting.extend(("a name", name) for name in one)
            waiting.extend(one.items())
        elif isinstance(one, list):
            waiting.extend((place, inner) for inner in one)
    return None


def _as_is(document: Any) -> Any:
    return document


def _failure(code: Code, message: str, request_id: Any = None) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "error": {"code": code, "message": message}, "id": request_id}


def _error_result(error: Exception) -> Result:
    if isinstance(error, TimeoutError):
        error = Unavailable("this took too long and was given up")
    if isinstance(error, JournalError):
        error = Unavailable(str(error))
    if isinstance(error, RequestError):
        return Error(CODES[type(error)], str(error), error.facts or None)
    logger.error("a request ended in an unexpected error", exc_info=error)
    return Error(Code.INTERNAL_ERROR, "internal error; the daemon's log has the details", None)


def _envelope_problem(element: Any) -> str:
    """Return what is wrong with a request's envelope, or an empty string."""
    if not isinstance(element, dict):
        return "a request is an object"
    if element.get("jsonrpc") != "2.0":
        return 'jsonrpc: expected "2.0"'
    if not isinstance(element.get("method"), str):
        return "method: expected a string"
    if not isinstance(element.get("params", {}), dict | list):
        return "params: expected an object"
    if not isinstance(element.get("id"), str | int | float | None) or isinstance(
        element.get("id"), bool
    ):
        return "id: expected a string, a number or null"
    if not isinstance(element.get("auth", ""), str):
        return "auth: expected a string"
    return ""
