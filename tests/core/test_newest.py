"""Rows by id, newest first."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from storewatchd.core.newest import NewestFirst
from storewatchd.core.queries import Position


@dataclass(frozen=True)
class Thing:
    id: str
    seen: float
    word: str = ""


def place(thing: Thing) -> Position:
    return Position.of(thing.seen, thing.id)


def make(*things: Thing) -> NewestFirst[Thing]:
    rows: NewestFirst[Thing] = NewestFirst(place)
    for thing in things:
        rows.put(thing)
    return rows


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 100)), st.data())
def test_pages_put_together_are_everything_newest_first(
    seen: dict[str, float], data: st.DataObject
) -> None:
    things = [Thing(name, at) for name, at in seen.items()]
    rows = make(*things)
    gone = set(data.draw(st.lists(st.sampled_from([*seen, "other"]))))
    for name in gone:
        rows.discard(name)
    paged: list[Thing] = []
    while page := list(rows.after(place(paged[-1]) if paged else None))[:2]:
        paged += page
    left = [thing for thing in things if thing.id not in gone]
    assert paged == sorted(left, key=place, reverse=True)
    assert (len(rows), set(rows)) == (len(left), set(left))


def test_what_is_discarded_is_gone_and_leaves_the_others() -> None:
    rows = make(Thing("a", 1.0), Thing("b", 2.0), Thing("c", 2.0))
    rows.discard("b")
    rows.discard("b")
    assert [one.id for one in rows.after(None)] == ["c", "a"]
    assert (len(rows), {one.id for one in rows}) == (2, {"a", "c"})


def test_a_known_id_is_replaced_in_its_place() -> None:
    rows = make(Thing("a", 1.0), Thing("b", 2.0))
    rows.put(Thing("a", 1.0, "new"))
    assert [one.word for one in rows.after(None)] == ["", "new"]
    assert rows.get("a") == Thing("a", 1.0, "new")
    assert rows.get("c") is None


def test_a_known_id_with_another_place_moves_there() -> None:
    rows = make(Thing("a", 1.0), Thing("b", 2.0))
    rows.put(Thing("a", 3.0))
    assert [one.id for one in rows.after(None)] == ["a", "b"]
    rows.discard("a")
    assert [one.id for one in rows.after(None)] == ["b"]
