"""The user database: asked once for a while, and never waited for without a bound."""

import asyncio
import os
import pwd
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from storewatchd.control import users as users_module
from storewatchd.control.users import User, Users, user_of

NOBODY = 2**32 - 3  # no user has it


class Database:
    """A user database that answers at once, unless it hangs."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.answers = threading.Event()
        self.answers.set()
        self.error: OSError | None = None

    def __call__(self, uid: int) -> User:
        self.asked.append(uid)
        assert self.answers.wait(10)
        if self.error is not None:
            raise self.error
        return User(f"user {uid}", frozenset({uid}))


@pytest.fixture
def database() -> Iterator[Database]:
    database = Database()
    yield database
    database.answers.set()


@pytest.fixture
async def users(database: Database) -> AsyncIterator[Users]:
    users = Users(database)
    yield users
    users.close()


def test_a_user_has_a_name_and_groups() -> None:
    about = pwd.getpwuid(os.geteuid())
    groups = frozenset(os.getgrouplist(about.pw_name, about.pw_gid))
    assert user_of(about.pw_uid) == User(about.pw_name, groups)


def test_a_user_that_is_not_known_has_a_number_and_no_groups() -> None:
    assert user_of(NOBODY) == User(f"uid {NOBODY}", frozenset())


async def test_who_is_known_is_not_asked_for_again(users: Users, database: Database) -> None:
    assert users.known(5) is None
    ann = await users.get(5)
    assert (ann, users.known(5), await users.get(5)) == (User("user 5", frozenset({5})), ann, ann)
    assert database.asked == [5]


async def test_an_answer_holds_for_a_while(
    users: Users, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(users_module, "KEPT_S", 0.0)
    await users.get(5)
    assert users.known(5) is None
    await users.get(5)
    assert database.asked == [5, 5]


async def test_all_who_ask_at_once_share_one_answer(users: Users, database: Database) -> None:
    assert len(set(await asyncio.gather(*(users.get(5) for _ in range(9))))) == 1
    assert database.asked == [5]


async def test_a_database_that_hangs_is_not_waited_for(
    users: Users, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(users_module, "WAIT_S", 10.0)
    monkeypatch.setattr(users_module, "KEPT_S", 0.0)
    await users.get(5)
    database.answers.clear()
    monkeypatch.setattr(users_module, "WAIT_S", 0.01)
    assert await users.get(5) == User("user 5", frozenset({5}))  # as it was known before
    assert await users.get(6) == User("uid 6", frozenset())
    database.answers.set()
    monkeypatch.setattr(users_module, "WAIT_S", 10.0)
    assert (await users.get(6)).name == "user 6"


async def test_a_database_that_fails_knows_nobody(users: Users, database: Database) -> None:
    database.error = OSError("of the test")
    assert await users.get(5) == User("uid 5", frozenset())


async def test_only_so_many_answers_are_kept(users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users_module, "MAX_USERS", 2)
    for uid in (1, 2, 3):
        await users.get(uid)
    assert [uid for uid in (1, 2, 3) if users.known(uid)] == [2, 3]


def test_an_answer_after_the_end_harms_nothing(database: Database) -> None:
    users = Users(database)
    database.answers.clear()

    async def ask() -> None:
        asking = asyncio.ensure_future(users.get(5))
        await asyncio.wait([asking], timeout=0)
        asking.cancel()

    asyncio.run(ask())
    database.answers.set()
    users.close()
    for thread in threading.enumerate():
        if thread.name == "user database":
            thread.join(10)
            assert not thread.is_alive()
