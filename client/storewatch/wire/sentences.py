"""What is wrong with a parameter, in words that name it: msgspec's own are for programmers."""

import re

import msgspec

_TYPE = re.compile(r"`([a-z]+(?: \| [a-z]+)*)`")
_LENGTH = re.compile(r"`(str|array|object)` of length (>=|<=) (\d+)")
_WORDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_PIECES = {"str": "character", "array": "element", "object": "member"}


def sentence_of(error: msgspec.ValidationError) -> str:
    """Turn msgspec's words into one sentence that names the parameter.

    msgspec says `Expected `int`, got `str` - at `$.limit``, or `- at `key` in `$.labels``.
    """
    what, _, where = str(error).partition(" - at ")
    where = where.replace("`", "")
    if what.startswith("Object contains unknown field"):
        return f"unknown parameter {what.partition('`')[2].rstrip('`')}"
    if what.startswith("Object missing required field"):
        return f"missing parameter {what.partition('`')[2].rstrip('`')}"
    name = where.removeprefix("key in ").removeprefix("$").lstrip(".")
    if where.startswith("key in "):
        name += ", a name in it"
    what = _LENGTH.sub(_length_words, what)
    what = _TYPE.sub(lambda match: _type_words(match.group(1)), what).replace(", got ", ", found ")
    what = f"{what[:1].lower()}{what[1:]}"
    return f"{name}: {what}" if name else what


def _type_words(types: str) -> str:
    known = [one for one in types.split(" | ") if one != "null" or types == "null"]
    return " or ".join(_WORDS.get(one, one) for one in known)


def _length_words(match: re.Match[str]) -> str:
    kind, bound, count = match.groups()
    piece = _PIECES[kind] + ("" if count == "1" else "s")
    return f"{_WORDS[kind]} of at {'least' if bound == '>=' else 'most'} {count} {piece}"
