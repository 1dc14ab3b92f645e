"""The snapshot: what is known, once; what is not, null."""

from storewatchd.core.frames import Family, Frame, MetricType, Outcome, Row, Scope
from storewatchd.core.rowstate import RowState
from storewatchd.core.series import Recorded, SeriesTable, recording
from storewatchd.core.snapshot import percent, snapshot
from storewatchd.core.tasks import TaskRun, TaskState

NOON = 1_767_268_800.0


def family(name: str, *labels: str) -> Family:
    return Family(name, MetricType.GAUGE, "A gauge.", labels)


SYSTEM = tuple(
    family(name)
    for name in (
        *("node_cpu_usage_ratio", "node_memory_MemTotal_bytes", "node_memory_MemAvailable_bytes"),
        *("node_time_seconds", "node_boot_time_seconds"),
    )
)
DISKS = tuple(family(f"node_filesystem_{name}_bytes", "m") for name in ("size", "free", "avail"))
REPOSITORIES = (
    *(family(f"repo_{name}_bytes", "repository") for name in ("size", "used", "free")),
    family("repo_info", "repository", "mountpoint"),
)


def table() -> SeriesTable:
    table = SeriesTable()
    table.declare("system", SYSTEM, max_age_s=90)
    table.declare("disks", DISKS, max_age_s=90)
    table.declare("repositories", REPOSITORIES, max_age_s=90)
    values = (0.25, 1000.0, 400.0, NOON, NOON - 60)
    rows = {one.name: [Row((), value)] for one, value in zip(SYSTEM, values, strict=True)}
    table.feed(Frame(Scope("system"), NOON, rows=rows))
    sizes = {"size": 100.0, "free": 40.0, "avail": 30.0}
    table.feed(
        Frame(
            Scope("disks"),
            NOON,
            rows={f"node_filesystem_{n}_bytes": [Row(("/",), v)] for n, v in sizes.items()},
        )
    )
    return table


def see_repositories(table: SeriesTable, **mount_points: str) -> None:
    values = {"size": 100.0, "used": 60.0, "free": 20.0}
    rows = {f"repo_{n}_bytes": [Row((r,), v) for r in mount_points] for n, v in values.items()}
    rows["repo_info"] = [Row((name, place), 1.0) for name, place in mount_points.items()]
    table.feed(Frame(Scope("repositories"), NOON, rows=rows))


def test_what_is_known_is_counted() -> None:
    look = table()
    see_repositories(look, a="/a", b="/b")
    shown = snapshot(look, [], 2, "n", NOON)
    assert (shown["timestamp"], shown["node"]) == ("2026-01-01T12:00:00.000Z", "n")
    assert shown["system"] == {
        "cpu_usage_percent": 25.0,
        "memory_used_bytes": 600.0,
        "memory_total_bytes": 1000.0,
        "memory_usage_percent": 60.0,
        "disk_used_bytes": 60.0,
        "disk_total_bytes": 100.0,
        "disk_usage_percent": 66.667,
        "uptime_seconds": 60.0,
    }
    assert shown["storage"] == {
        "total_disks": None,
        "total_repositories": 2.0,
        "total_capacity_bytes": 200.0,
        "used_capacity_bytes": 120.0,
        "available_bytes": 40.0,
        "usage_percent": 75.0,
    }


def test_repositories_on_one_file_system_count_its_space_once() -> None:
    look = table()
    see_repositories(look, a="/srv", b="/srv", c="")
    storage = snapshot(look, [], 3, "n", NOON)["storage"]
    assert (storage["total_capacity_bytes"], storage["used_capacity_bytes"]) == (200.0, 120.0)


def test_what_could_not_be_seen_is_null_and_not_less() -> None:
    look = table()
    see_repositories(look, a="/a")
    look.feed(Frame(Scope("repositories"), NOON, Outcome.FAILED))
    storage = snapshot(look, [], 1, "n", NOON)["storage"]
    assert (storage["total_repositories"], storage["used_capacity_bytes"]) == (1.0, None)
    assert storage["usage_percent"] is None
    late = snapshot(look, [], 1, "n", NOON + 91)
    assert set(late["system"].values()) == {None}


def test_what_a_rule_recorded_without_knowing_it_is_null() -> None:
    look = table()
    scope = recording("node_disks", {})
    look.keep_recordings([scope])
    for state, disks in (
        (RowState.EXACT, 3.0),
        (RowState.UNKNOWN, None),
        (RowState.AT_LEAST, None),
    ):
        look.record(scope, [Recorded({}, 3.0, state)], (), NOON)
        assert snapshot(look, [], 0, "n", NOON)["storage"]["total_disks"] == disks


def test_before_any_look_nothing_is_known() -> None:
    shown = snapshot(SeriesTable(), [], 0, "n", NOON)
    assert set(shown["system"].values()) == {None}
    assert set(shown["storage"].values()) == {None, 0.0}
    assert [shown[part] for part in ("scst", "tape", "vtl", "api")] == [None] * 4


def test_tasks_are_counted_by_state() -> None:
    def run(state: TaskState, took: float | None) -> TaskRun:
        ended = None if took is None else NOON + took
        return TaskRun(
            id="r",
            name="t",
            type="task",
            state=state,
            first_seen=NOON,
            started_at=NOON,
            finished_at=ended,
        )

    runs = [
        run(TaskState.RUNNING, None),
        run(TaskState.COMPLETED, 10),
        run(TaskState.FAILED, 20),
    ]
    assert snapshot(SeriesTable(), runs, 0, "n", NOON)["tasks"] == {
        "total_tasks": 3.0,
        "pending_tasks": 0.0,
        "running_tasks": 1.0,
        "completed_tasks": 1.0,
        "failed_tasks": 1.0,
        "average_duration_seconds": 15.0,
    }
    assert snapshot(SeriesTable(), [], 0, "n", NOON)["tasks"]["average_duration_seconds"] is None


def test_what_is_over_is_counted_though_memory_has_let_go_of_it() -> None:
    table = SeriesTable()
    family = Family("task_runs_total", MetricType.COUNTER, "Runs.", ("task", "type", "result"))
    table.declare("tasks", (family,), max_age_s=60.0)
    rows = [
        Row(("a", "task", "completed"), 900.0),
        Row(("b", "task", "completed"), 600.0),
        Row(("b", "task", "failed"), 7.0),
    ]
    table.feed(Frame(Scope("tasks"), NOON, rows={family.name: rows}))
    counts = snapshot(table, [], 0, "n", NOON)["tasks"]
    assert (counts["total_tasks"], counts["completed_tasks"], counts["failed_tasks"]) == (
        1507.0,
        1500.0,
        7.0,
    )


def test_a_percentage_of_nothing_is_unknown() -> None:
    assert (percent(1, 0), percent(None, 1), percent(1, None), percent(1, 4)) == (
        None,
        None,
        None,
        25.0,
    )


# Tape.

TAPE = (
    family("library_up", "library"),
    family("library_elements", "library", "type"),
    family("library_elements_full", "library", "type"),
    family("tape_drive_up", "drive"),
)


def tape(*, outcome: Outcome = Outcome.SEEN) -> dict[str, float | None] | None:
    """Return the tape part with one library of 40 slots, of which 30 are full, and two drives."""
    found = table()
    for number, one in enumerate(TAPE):
        found.declare(f"p{number}", (one,), max_age_s=90)
    rows = (
        {"library_up": [Row(("L",), 1.0)]},
        {"library_elements": [Row(("L", "storage"), 40.0), Row(("L", "drive"), 2.0)]},
        {"library_elements_full": [Row(("L", "storage"), 30.0), Row(("L", "drive"), 1.0)]},
        {"tape_drive_up": [Row(("D1",), 1.0), Row(("D2",), 0.0)]},
    )
    for number, said in enumerate(rows):
        found.feed(Frame(Scope(f"p{number}"), NOON, rows=said))
    if outcome is not Outcome.SEEN:
        found.feed(Frame(Scope("p2"), NOON, outcome, reason="it hangs"))
    told: dict[str, float | None] | None = snapshot(found, [], 0, "n", NOON)["tape"]
    return told


def test_libraries_drives_and_slots_are_counted() -> None:
    assert tape() == {
        "total_libraries": 1.0,
        "total_drives": 2.0,
        "total_slots": 40.0,
        "occupied_slots": 30.0,
    }


def test_of_tape_too_what_is_not_known_is_null() -> None:
    told = tape(outcome=Outcome.FAILED)
    assert told is not None
    assert (told["total_slots"], told["occupied_slots"]) == (40.0, None)


def test_a_machine_without_tape_has_no_such_part() -> None:
    assert snapshot(table(), [], 0, "n", NOON)["tape"] is None
    found = table()
    found.declare("p", TAPE[:1], max_age_s=90)
    found.feed(Frame(Scope("p"), NOON, rows={}))
    assert snapshot(found, [], 0, "n", NOON)["tape"] is None


# Virtual tape libraries.

VTL = (
    family("vtl_up", "backend"),
    family("vtl_library_up", "library"),
    family("vtl_drive_up", "library", "drive"),
    family("library_elements_full", "library", "type"),
)


def vtl(
    *, full: dict[tuple[str, str], float], outcome: Outcome = Outcome.SEEN
) -> dict[str, float | None] | None:
    """Return the part of one virtual library with two drives, of which one is up, beside a real
    library; `full` are elements with a cartridge."""
    found = table()
    for number, one in enumerate(VTL):
        found.declare(f"p{number}", (one,), max_age_s=90)
    rows = (
        {"vtl_up": [Row(("mhvtl",), 1.0)]},
        {"vtl_library_up": [Row(("V",), 1.0)]},
        {"vtl_drive_up": [Row(("V", "V1"), 1.0), Row(("V", "V2"), 0.0)]},
        {"library_elements_full": [Row(labels, value) for labels, value in full.items()]},
    )
    for number, said in enumerate(rows):
        found.feed(Frame(Scope(f"p{number}"), NOON, rows=said))
    if outcome is not Outcome.SEEN:
        found.feed(Frame(Scope("p1"), NOON, outcome, reason="it hangs"))
    told: dict[str, float | None] | None = snapshot(found, [], 0, "n", NOON)["vtl"]
    return told


FULL = {("V", "storage"): 20.0, ("V", "drive"): 1.0, ("L", "storage"): 400.0, ("L", "drive"): 2.0}


def test_virtual_libraries_are_counted_without_the_real_ones() -> None:
    assert vtl(full=FULL) == {
        "total_libraries": 1.0,
        "total_drives": 2.0,
        "total_tapes": 21.0,
        "active_drives": 1.0,
        "loaded_tapes": 1.0,
    }


def test_cartridges_of_a_virtual_library_without_inventory_are_not_known() -> None:
    told = vtl(full={("L", "storage"): 400.0})
    assert told is not None
    assert (told["total_libraries"], told["total_tapes"], told["loaded_tapes"]) == (1.0, None, None)


def test_which_libraries_are_virtual_must_be_known_to_count() -> None:
    told = vtl(full=FULL, outcome=Outcome.FAILED)
    assert told is not None
    assert (told["total_libraries"], told["total_tapes"], told["total_drives"]) == (None, None, 2.0)


def test_a_machine_without_virtual_libraries_has_no_such_part() -> None:
    assert snapshot(table(), [], 0, "n", NOON)["vtl"] is None


# SCST.

SCST = (
    family("scst_target_enabled", "target"),
    family("scst_target_luns", "target"),
    family("scst_target_sessions", "target"),
    family("scst_session_up", "target", "initiator"),
)


def scst(*, sessions: dict[tuple[str, str], float], is_seen: bool = True) -> object:
    """Return the SCST part with two targets, of which one is enabled, and these sessions."""
    found = table()
    found.declare("scst", SCST, max_age_s=90)
    rows = {
        "scst_target_enabled": [Row(("a",), 1.0), Row(("b",), 0.0)],
        "scst_target_luns": [Row(("a",), 3.0), Row(("b",), 2.0)],
        "scst_target_sessions": [Row(("a",), 2.0), Row(("b",), 0.0)],
        "scst_session_up": [Row(labels, value) for labels, value in sessions.items()],
    }
    found.feed(Frame(Scope("scst"), NOON, rows=rows))
    if not is_seen:
        found.feed(Frame(Scope("scst"), NOON, Outcome.FAILED, reason="it hangs"))
    return snapshot(found, [], 0, "n", NOON)["scst"]


def test_targets_luns_and_initiators_are_counted() -> None:
    sessions = {("a", "esx1"): 1.0, ("b", "esx1"): 1.0, ("a", "esx2"): 1.0, ("a", "gone"): 0.0}
    assert scst(sessions=sessions) == {
        "total_targets": 2.0,
        "total_luns": 5.0,
        "total_initiators": 2.0,
        "active_targets": 1.0,
    }
    assert scst(sessions={}) == {
        "total_targets": 2.0,
        "total_luns": 5.0,
        "total_initiators": 0.0,
        "active_targets": 1.0,
    }


def test_of_scst_too_what_is_not_known_is_null() -> None:
    assert scst(sessions={}, is_seen=False) == {
        "total_targets": None,
        "total_luns": None,
        "total_initiators": None,
        "active_targets": None,
    }
