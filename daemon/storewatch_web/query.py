"""Query strings and bodies, read strictly: what is unknown or malformed is named."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from storewatch.wire import params
from storewatch.wire.sentences import place_and_fault
from storewatch_web.problems import Problem

MAX_BODY_BYTES = 1 << 20
BODY_S = 30.0


def decode(request: web.Request, kind: type[params.Params]) -> dict[str, Any]:
    """Return a query string as the parameters of a method.

    Lists may be repeated (`severity=info&severity=critical`) or joined by commas.

    Raises:
        Problem: a parameter is unknown, malformed, or given twice where once is meant.
    """
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    found: dict[str, Any] = {}
    for name in request.query:
        if name not in fields:
            known = ", ".join(fields) or "none"
            raise Problem(400, f"unknown parameter {name}; known are {known}", parameter=name)
        said = request.query.getall(name)
        if _is_list(fields[name].type):
            separate = said if name == "label" else [w for one in said for w in one.split(",")]
            found[name] = separate
        elif len(said) > 1:
            raise Problem(400, f"{name}: given {len(said)} times, once is meant", parameter=name)
        else:
            found[name] = said[0]
    for name, value in found.items():
        try:
            found[name] = msgspec.convert(value, fields[name].type, strict=False)
        except msgspec.ValidationError as error:
            _, what = place_and_fault(error, fields[name].type)
            # The sentence says all that msgspec says, by the name that the caller gave.
            raise Problem(400, f"{name}: {what}", parameter=name) from None
    return found


async def body(request: web.Request) -> dict[str, Any]:
    """Return a request's JSON object; nothing at all is an empty one.

    Raises:
        Problem: it is too large, too slow, no JSON, or no object.
    """
    try:
        async with asyncio.timeout(BODY_S):
            raw = await request.read()
    except TimeoutError as error:
        raise Problem(408, f"the body did not come within {BODY_S:g} s") from error
    except web.HTTPRequestEntityTooLarge as error:
        raise Problem(413, f"a body has at most {MAX_BODY_BYTES} bytes") from error
    if not raw.strip():
        return {}
    try:
        document = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Problem(400, f"the body is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise Problem(400, "the body is no JSON object")
    return document


def allowed(document: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return the body when it has only these members.

    Raises:
        Problem: it has another one.
    """
    for name in document:
        if name not in names:
            raise Problem(
                400, f"unknown member {name}; known are {', '.join(names)}", parameter=name
            )
    return dict(document)


def _is_list(kind: Any) -> bool:
    inside = getattr(kind, "__args__", ())
    origin = getattr(kind, "__origin__", None)
    return origin is list or any(_is_list(one) for one in inside if one is not type(None))
