"""What may be asked of SCST: nothing secret, nothing that the iSCSI daemon answers for."""

from pathlib import Path

import pytest

from lab.scst import ScstTree
from probes.scst.fix_scst import attributes, matcher, names, whole
from reader.fix_reader import paths_of
from storewatch_reader.scst import CHEAP, LATENCY, QUEUED, STATE, STEADY
from storewatch_reader.table import ROWS, TreeRow
from storewatch_reader.trees import Pass, compiled

EVERYTHING = (*STATE, *CHEAP, *STEADY, *LATENCY, *QUEUED)

SECRET = b"SECRET-THAT-NOBODY-READS"


@pytest.mark.parametrize("name", names())
def test_nothing_that_is_asked_for_holds_a_secret(name: str) -> None:
    matching = matcher(EVERYTHING)
    for path, content in whole(name).items():
        if isinstance(content, bytes) and SECRET in content:
            assert not matching.fullmatch(path)


def test_the_snapshots_have_secrets_that_could_be_asked_for() -> None:
    contents = (content for name in names() for content in whole(name).values())
    assert any(isinstance(content, bytes) and SECRET in content for content in contents)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("targets/iscsi/IncomingUser", id="discovery"),
        pytest.param("targets/iscsi/OutgoingUser1", id="discovery, mutual"),
        pytest.param("targets/iscsi/iqn.a/IncomingUser", id="target"),
        pytest.param("targets/iscsi/iqn.a/IncomingUser12", id="another of the target"),
        pytest.param("targets/iscsi/iqn.a/OutgoingUser", id="target, mutual"),
        pytest.param("targets/iscsi/iqn.a/ini_groups/g/IncomingUser", id="group"),
        pytest.param("targets/iscsi/iqn.a/sessions/s/IncomingUser", id="session"),
        pytest.param("targets/iscsi/enabled", id="driver, which its daemon answers for"),
        pytest.param("targets/iscsi/iqn.a/QueuedCommands", id="target, which it answers for too"),
        pytest.param("targets/iscsi/iqn.a/HeaderDigest", id="target's parameter"),
        pytest.param("targets/iscsi/iqn.a/read_cmd_count", id="target's counter"),
        pytest.param("targets/iscsi/iqn.a/sessions/s/active_commands", id="queued for a session"),
        pytest.param("targets/iscsi/iqn.a/sessions/s/force_close", id="closes a session"),
        pytest.param("devices/d/sync", id="flushes"),
        pytest.param("devices/d/resync_size", id="reads a size anew"),
        pytest.param("devices/d/dump_prs", id="writes to the log"),
    ],
)
def test_it_is_never_asked_for(path: str) -> None:
    assert not matcher(EVERYTHING).fullmatch(path)


def test_no_pattern_names_a_user_or_takes_any_attribute_of_a_target() -> None:
    for pattern in EVERYTHING:
        *_, last = pattern.split("/")
        assert "User" not in pattern
        # Initiators are files named after them; everything else is asked for by name.
        assert "*" not in last or pattern.endswith("/initiators/*")


@pytest.mark.parametrize("pattern", QUEUED)
def test_what_scst_queues_is_not_asked_for_at_every_look(pattern: str) -> None:
    assert not matcher((*STATE, *CHEAP, *STEADY, *LATENCY)).fullmatch(pattern.replace("*", "x"))


@pytest.mark.parametrize(
    "name",
    ["run1/09-during-io-t5", "run1/10-during-io-measure_latency", "run2/03-pr-exclusive-conflict"],
)
def test_the_reader_tells_of_a_tree_what_these_tests_take_it_to_tell(
    tmp_path: Path, name: str
) -> None:
    for path, content in whole(name).items():
        place = tmp_path / path.rstrip("/@")
        place.parent.mkdir(parents=True, exist_ok=True)
        if path.endswith("/"):
            place.mkdir(exist_ok=True)
        elif isinstance(content, int):
            continue
        elif path.endswith("@"):
            place.symlink_to(content.decode())
        else:
            place.write_bytes(content)
    for patterns in (STATE, CHEAP, STEADY, LATENCY, QUEUED):
        found = Pass()
        found.take(str(tmp_path), compiled(patterns))
        contents = iter(found.parts)
        told = {
            path: next(contents) if length >= 0 else length
            for path, length in zip(paths_of(found), found.lengths, strict=True)
        }
        assert told == attributes(name, patterns)


def test_no_row_tells_a_secret_of_a_tree_that_has_some(tmp_path: Path) -> None:
    tree = ScstTree(tmp_path)
    tree.add_driver("iscsi")
    tree.add_device("disk1")
    target = tree.add_target("iscsi", "iqn.2026-01.example:disk1")
    target.add_user("joe", SECRET.decode())
    target.add_group("hosts", ["iqn.h"])
    target.add_lun(0, "disk1", group="hosts")
    session = target.log_in("iqn.h")
    for place in ("targets/iscsi", target.path, f"{target.path}/ini_groups/hosts", session.path):
        for name in ("IncomingUser", "IncomingUser1", "OutgoingUser"):
            (tree.path / place / name).write_bytes(b"joe " + SECRET)
    rows = [row for row in ROWS.values() if isinstance(row, TreeRow) and not row.object]
    told = 0
    for row in rows:
        found = Pass()
        found.take(str(tmp_path / row.root), compiled(row.attributes))
        told += sum(SECRET in content for content in found.parts)
    assert any(row.name == "scst.latency" for row in rows)
    assert told == 0
    assert SECRET in (tree.path / target.path / "IncomingUser").read_bytes()
