"""The book of repositories: declared, added and discovered ones, and who wins."""

import pytest

from storewatchd.core.repositories import Origin, RepositoryBook, normal_path
from storewatchd.errors import Conflict, InvalidParams, NotFound


def book() -> RepositoryBook:
    book = RepositoryBook()
    book.declare([("daily", "/srv/daily")])
    book.discover(["/", "/srv/daily"])
    book.add("archive", "/srv/archive")
    return book


def test_every_place_is_one_repository_and_people_win() -> None:
    assert [(one.name, one.path, one.origin) for one in book()] == [
        ("archive", "/srv/archive", Origin.ADDED),
        ("daily", "/srv/daily", Origin.CONFIGURATION),
        ("/", "/", Origin.DISCOVERED),
    ]


def test_one_is_found_by_its_name() -> None:
    found = book().get("archive")
    assert found is not None
    assert found.path == "/srv/archive"
    assert book().get("nothing") is None


def test_declaring_anew_replaces_what_was_declared() -> None:
    known = book()
    known.declare([])
    assert known.get("daily") is None
    assert known.get("/srv/daily") is not None


def test_adding_the_same_again_changes_nothing() -> None:
    known = book()
    assert known.add("archive", "/srv/archive/") == (known.get("archive"), False)
    assert known.add("daily", "/srv/daily") == (known.get("daily"), False)
    assert len(known.added()) == 1


@pytest.mark.parametrize(
    ("name", "path", "why"),
    [
        ("daily", "/srv/other", "'daily' is at /srv/daily already"),
        ("other", "/srv/archive", "/srv/archive is the repository 'archive' already"),
    ],
)
def test_a_name_or_path_of_another_is_refused(name: str, path: str, why: str) -> None:
    with pytest.raises(Conflict, match=why):
        book().add(name, path)


@pytest.mark.parametrize("name", ["a\nb", "a\tb", "\x1b[2J", "a\x00", "a\u202eb", "a\x85"])
def test_a_name_can_be_shown_as_it_is(name: str) -> None:
    with pytest.raises(InvalidParams, match="name: expected printable characters"):
        book().add(name, "/srv/x")


@pytest.mark.parametrize("name", ["a b", "Säule 1", "備份", "a/b"])
def test_a_name_may_be_of_any_script(name: str) -> None:
    added, is_new = book().add(name, "/srv/x")
    assert (added.name, is_new) == (name, True)


@pytest.mark.parametrize("path", ["relative", "", "./x", "~/x"])
def test_a_path_is_absolute(path: str) -> None:
    with pytest.raises(InvalidParams, match="absolute"):
        book().add("x", path)


@pytest.mark.parametrize("path", ["/a\0b", "/a\nb"], ids=["zero byte", "line break"])
def test_a_path_is_one_line_of_text(path: str) -> None:
    with pytest.raises(InvalidParams, match="no zero byte and no line break"):
        book().add("x", path)


@pytest.mark.parametrize(
    ("given", "normal"),
    [("/srv/", "/srv"), ("/srv//a/./b", "/srv/a/b"), ("/", "/"), ("//srv", "/srv")],
)
def test_a_path_has_one_form(given: str, normal: str) -> None:
    assert normal_path(given) == normal


def test_only_what_was_added_can_be_removed() -> None:
    known = book()
    assert known.remove("archive").path == "/srv/archive"
    with pytest.raises(Conflict, match="declared in the configuration"):
        known.remove("daily")
    with pytest.raises(Conflict, match=r"storage\.discover = false"):
        known.remove("/")
    with pytest.raises(NotFound, match="there is no repository 'archive'"):
        known.remove("archive")


def test_what_was_added_outlives_a_restart() -> None:
    again = RepositoryBook()
    for one in book().added():
        again.restore(one.name, one.path)
    assert [one.name for one in again] == ["archive"]


def test_where_a_repository_was_seen_is_remembered_until_it_is_forgotten() -> None:
    known = book()
    assert known.note_mount_point("/srv/daily", "/srv")
    assert not known.note_mount_point("/srv/daily", "/srv")
    assert known.mount_point("/srv/daily") == "/srv"
    assert known.note_mount_point("/srv/daily", None)
    assert not known.note_mount_point("/srv/daily", None)
    assert known.mount_point("/srv/daily") is None
