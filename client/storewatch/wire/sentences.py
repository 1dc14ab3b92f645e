"""What is wrong with a parameter, in words that name it: msgspec's own are for programmers."""

import re
from typing import Any

import msgspec
from msgspec import inspect

_TYPE = re.compile(r"`([a-z]+(?: \| [a-z]+)*)`")
_LENGTH = re.compile(r"`(str|array|object)` of length (>=|<=) (\d+)")
_STEP = re.compile(r"\[\d+\]|[^.\[]+")
_PLACE = re.compile(r"(.*) - at (.*)", re.DOTALL)
_NOT_OF_THE_SET = "Invalid enum value "
_WORDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
MAX_FOUND = 100
_PIECES = {"str": "character", "array": "element", "object": "member"}


def sentence_of(error: msgspec.ValidationError, kind: Any) -> str:
    """Turn msgspec's words about a value that is not of this kind into one sentence that names
    the parameter.

    msgspec says `Expected `int`, got `str` - at `$.limit``, or `- at `key` in `$.labels``.
    """
    name, what = place_and_fault(error, kind)
    return f"{name}: {what}" if name else what


def place_and_fault(error: msgspec.ValidationError, kind: Any) -> tuple[str, str]:
    """Return which part of a value is wrong, empty where it is the whole, and what is."""
    # What was found comes in the words too, and may look like a place.
    what, where = (_PLACE.findall(str(error)) or [(str(error), "")])[0]
    where = where.replace("`", "")
    if what.startswith("Object contains unknown field"):
        return "", f"unknown parameter {what.partition('`')[2].rstrip('`')}"
    if what.startswith("Object missing required field"):
        return "", f"missing parameter {what.partition('`')[2].rstrip('`')}"
    in_names = where.startswith("key in ")
    name = where.removeprefix("key in ").removeprefix("$").lstrip(".")
    if what.startswith(_NOT_OF_THE_SET):
        found = what.removeprefix(_NOT_OF_THE_SET)
        return name, f"expected {_choices(kind, name)}, found {found[:MAX_FOUND]}"
    if in_names:
        name += ", a name in it"
    what = _LENGTH.sub(_length_words, what)
    what = _TYPE.sub(lambda match: _type_words(match.group(1)), what).replace(", got ", ", found ")
    return name, f"{what[:1].lower()}{what[1:]}"


def _choices(kind: Any, name: str) -> str:
    """Return in words which values a part may have; `name` is msgspec's path to it."""
    about = _said(inspect.type_info(kind))
    for step in _STEP.findall(name):
        if isinstance(about, inspect.StructType):
            about = next(field.type for field in about.fields if field.encode_name == step)
        elif isinstance(about, inspect.ListType):
            about = about.item_type
        about = _said(about)
    values = about.values if isinstance(about, inspect.LiteralType) else ()
    return f"one of {', '.join(map(str, values))}"


def _said(about: inspect.Type) -> inspect.Type:
    """Return what a type is where it is not null."""
    if isinstance(about, inspect.UnionType):
        return next(one for one in about.types if not isinstance(one, inspect.NoneType))
    return about


def _type_words(types: str) -> str:
    known = [one for one in types.split(" | ") if one != "null" or types == "null"]
    return " or ".join(_WORDS.get(one, one) for one in known)


def _length_words(match: re.Match[str]) -> str:
    kind, bound, count = match.groups()
    piece = _PIECES[kind] + ("" if count == "1" else "s")
    return f"{_WORDS[kind]} of at {'least' if bound == '>=' else 'most'} {count} {piece}"
