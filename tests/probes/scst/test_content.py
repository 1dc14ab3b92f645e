"""What odd, truncated and hostile content of SCST's attributes comes to."""

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.scst.fix_scst import attributes, device, target
from storewatch_reader.scst import CHEAP, QUEUED, STEADY
from storewatchd.probes.scst.model import Command
from storewatchd.probes.scst.tree import Content, parse_commands, parse_dif, parse_tree

ALL = (*CHEAP, *STEADY, *QUEUED)

NAME = "targets/iscsi/iqn.a"
SESSION = f"{NAME}/sessions/host"


@pytest.mark.parametrize(
    ("content", "value"),
    [
        pytest.param(b"1\n", True, id="plain"),
        pytest.param(b"1\n[key]\n", True, id="not the default"),
        pytest.param(b"0\n[key]\n\n", False, id="a blank line"),
        pytest.param(b"0\n\n", False, id="only a blank line"),
        pytest.param(b"1", None, id="cut off"),
        pytest.param(b"", None, id="empty"),
        pytest.param(b"yes\n", None, id="no number"),
        pytest.param("\u0661\n".encode(), None, id="a digit of another kind"),
        pytest.param(b"1_0\n", None, id="a Python number"),
        pytest.param(b"1\n[k", None, id="cut off in the mark"),
        pytest.param(b"1" * 30 + b"\n", None, id="too long"),
        pytest.param(-errno.EAGAIN, None, id="ask again"),
        pytest.param(-errno.EIO, None, id="error"),
    ],
)
def test_a_value_is_known_or_not(content: Content, value: bool | None) -> None:
    scst = parse_tree({f"{NAME}/enabled": content})
    assert target(scst, "iqn.a").is_enabled is value


def test_who_has_to_be_asked_again_is_counted() -> None:
    scst = parse_tree(
        {
            "devices/a/filename": -errno.EAGAIN,
            "devices/b/filename": -errno.EAGAIN,
            "devices/c/filename": -errno.EIO,
            "last_sysfs_mgmt_res": -errno.EAGAIN,
        }
    )
    assert scst.asked_again == 2
    assert scst.is_management_pending
    assert device(scst, "a").filename is None


@pytest.mark.parametrize(
    "facts",
    [
        pytest.param({"initiator_name": b"iqn.h", "sid": b"1\n"}, id="a name that is cut off"),
        pytest.param({"initiator_name": b"iqn.h\n", "sid": b"1"}, id="a sid that is cut off"),
        pytest.param({"initiator_name": b"iqn.h\n", "sid": -errno.EIO}, id="no sid to be had"),
        pytest.param({"sid": b"1\n"}, id="no name"),
        pytest.param({}, id="nothing"),
    ],
)
def test_a_session_that_nobody_can_name_is_there_and_has_no_identity(
    facts: dict[str, Content],
) -> None:
    found = {f"{SESSION}/{name}": content for name, content in facts.items()}
    (session,) = target(parse_tree({f"{SESSION}/": b"", **found}), "iqn.a").sessions
    assert (session.directory, session.identity) == ("host", None)


def test_older_versions_say_theirs_in_other_words() -> None:
    scst = parse_tree({"version": b"3.4.0\nDEBUG\nEXTRACHECKS\n"})
    assert (scst.version, scst.features) == ("3.4.0", ("DEBUG", "EXTRACHECKS"))


def test_a_comment_may_be_anything() -> None:
    scst = parse_tree({f"{NAME}/comment": "Büro: [key] 7\n[key]\n".encode()})
    assert target(scst, "iqn.a").comment == "Büro: [key] 7"


def test_a_name_that_is_no_text_is_told_escaped() -> None:
    scst = parse_tree({"devices/disk\udcff/type": b"0 - Direct-access device\n"})
    assert [one.name for one in scst.devices] == ["disk\\udcff"]


def test_the_commands_of_a_full_page_are_told_but_for_the_last() -> None:
    line = (
        b"cmd 0000: state EXEC_WAIT; op READ(10); proc time 7 sec; tgtt iscsi; tgt iqn.a; "
        b"session iqn.h_1; grp iqn.a; LUN 3; ini iqn.h; cdb 28 00\n"
    )
    whole = parse_commands(line + line[:-30])
    assert list(whole) == [Command("iscsi", "iqn.a", "iqn.h", 3, "EXEC_WAIT", 7)]
    assert list(parse_commands(line.replace(b"LUN 3", b"LUN x"))) == []
    assert list(parse_commands(line.replace(b"ini iqn.h", b"ini a; LUN 4; ini b"))) == []


def test_errors_of_data_integrity_are_told_by_stage_and_tag() -> None:
    table = b"\tapp\tref\tguard\ntgt\t0\t0\t4\nscst\t0\t1\t0\ndev\t0\t0\t0\n"
    found = parse_dif(table)
    assert len(found) == 9
    assert {key: count for key, count in found.items() if count} == {
        ("tgt", "guard"): 4,
        ("scst", "ref"): 1,
    }


@pytest.mark.parametrize(
    "table",
    [
        pytest.param(b"\tapp\tref\tguard\ntgt\t0\t0\n", id="a number too few"),
        pytest.param(b"\tapp\tref\tguard\ntgt\t0\t0\t-4\n", id="below nothing"),
        pytest.param(b"\tapp\tref\tguard\ntgt\t0\t0\t4", id="cut off"),
        pytest.param(b"", id="empty"),
        pytest.param(-errno.EAGAIN, id="ask again"),
    ],
)
def test_a_table_that_is_none_says_nothing(table: Content) -> None:
    assert parse_dif(table) == {}


# Hostile content.

CONTENT = st.binary(max_size=60) | st.integers(-133, -1)
PATHS = sorted(attributes("run1/09-during-io-t5", ALL))
TREE = attributes("run1/09-during-io-t5", ALL)
ODD_PATHS = st.text("ab/.:*@ \n\udcff", max_size=20).map(lambda text: f"targets/iscsi/{text}")


@given(
    changes=st.dictionaries(st.sampled_from(PATHS) | ODD_PATHS, CONTENT, max_size=8),
    missing=st.sets(st.sampled_from(PATHS), max_size=20),
)
def test_garbled_attributes_harm_nothing(changes: dict[str, Content], missing: set[str]) -> None:
    garbled = {path: content for path, content in TREE.items() if path not in missing}
    scst = parse_tree({**garbled, **changes})
    for one in scst.exported():
        for session in one.sessions:
            for counts in (session.counters.commands, session.counters.kib, session.active):
                assert all(isinstance(count, int) for count in counts.values())


@given(path=st.sampled_from(PATHS), cut=st.integers(0, 400))
def test_what_is_cut_off_is_not_taken_for_something_else(path: str, cut: int) -> None:
    whole, content = parse_tree(TREE), TREE[path]
    if not isinstance(content, bytes) or path.endswith(("@", "/", "trace_cmds", "version")):
        return
    cut_off = parse_tree({**TREE, path: content[:cut]})
    for one, other in zip(whole.exported(), cut_off.exported(), strict=True):
        for name in ("is_enabled", "relative_id", "black_hole", "is_forwarding"):
            assert getattr(other, name) in (None, getattr(one, name))
        assert other.comment in ("", one.comment)
        for session, same in zip(one.sessions, other.sessions, strict=True):
            assert same.identity in (None, session.identity)
            assert same.outstanding in (None, session.outstanding)
            assert same.counters.commands.items() <= session.counters.commands.items()
            assert same.active.items() <= session.active.items()
    for thing, same_thing in zip(whole.devices, cut_off.devices, strict=True):
        assert same_thing.size_bytes in (None, thing.size_bytes)
        assert same_thing.filename in (None, thing.filename)


@given(st.binary(max_size=300), st.integers(0, 200), st.integers(0, 255))
def test_garbled_commands_harm_nothing(text: bytes, place: int, byte: int) -> None:
    line = (
        b"cmd 0000: state EXEC_WAIT; op READ(10); proc time 7 sec; tgtt iscsi; tgt iqn.a; "
        b"session iqn.h_1; grp iqn.a; LUN 3; ini iqn.h; cdb 28 00\n"
    )
    flipped = line[:place] + bytes([byte]) + line[place + 1 :]
    for content in (text, flipped, text + line):
        for command in parse_commands(content):
            assert command.age_s >= 0
