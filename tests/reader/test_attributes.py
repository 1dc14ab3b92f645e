"""The answer to a row of a tree: what is told comes back, and what is damaged is refused."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storewatch_reader.attributes import BadAttributes, attributes, paths, told
from storewatch_reader.trees import Pass

NAMES = st.text("ab.\udcff", min_size=1, max_size=3)
FOLDERS = st.lists(NAMES, max_size=2).map(lambda names: "".join(f"{name}/" for name in names))


def found_of(folders: dict[str, dict[str, bytes | int]]) -> Pass:
    """Return a pass that found contents by name, by directory."""
    found = Pass()
    for prefix, contents in folders.items():
        found.names += ("//", prefix, *contents)
        for content in contents.values():
            found.lengths.append(content if isinstance(content, int) else len(content))
        found.parts += (one for one in contents.values() if isinstance(one, bytes))
    return found


@given(
    folders=st.dictionaries(
        FOLDERS,
        st.dictionaries(
            st.one_of(st.just(""), NAMES, st.tuples(NAMES, NAMES).map("/".join)),
            st.one_of(st.binary(max_size=9), st.integers(-133, -1)),
            min_size=1,
        ),
    )
)
def test_what_is_told_comes_back(folders: dict[str, dict[str, bytes | int]]) -> None:
    header, blob = told(found_of(folders), "")
    known = paths(header, blob)
    assert known is not None
    in_order = [
        (prefix + name, c) for prefix, names in folders.items() for name, c in names.items()
    ]
    assert known == [path for path, _ in in_order]
    assert attributes(known, header, blob) == dict(in_order)
    again, shorter = told(found_of(folders), header["plan"])
    assert again == {**header, "text": 0}
    assert attributes(known, again, shorter) == dict(in_order)


def test_the_text_of_a_directory_stands_there_once() -> None:
    found = found_of({"a/": {"": b"", "x": b"1", "b/y": b"22"}, "c/": {"z": -5}})
    assert told(found, "")[1] == struct.pack("4i", 0, 1, 2, -5) + (
        b"//\0a/\0\0x\0b/y\0//\0c/\0z\0" + b"122"
    )


def test_another_directory_has_another_plan() -> None:
    plans = {told(found_of({prefix: {"x": b"1"}}), "")[0]["plan"] for prefix in ("a/", "b/", "")}
    assert len(plans) == 3


@given(st.binary(max_size=64), st.integers(-2, 9), st.integers(-2, 64))
def test_garbage_is_refused_or_has_as_many_attributes_as_it_says(
    blob: bytes, count: int, text: int
) -> None:
    header: dict[str, Any] = {"plan": "x", "count": count, "text": text}
    try:
        known = paths(header, blob)
        found = attributes(["a"] * count if known is None else known, header, blob)
    except (BadAttributes, struct.error):
        return
    assert len(found) <= count


@pytest.mark.parametrize("cut", range(1, 12))
def test_an_answer_that_was_cut_off_is_refused(cut: int) -> None:
    header, blob = told(found_of({"a/": {"x": b"1", "y": b"2"}}), "")
    with pytest.raises((BadAttributes, struct.error)):
        attributes(["a/x", "a/y"], header, blob[:-cut])
