"""Latencies as SCST measures them: tables of a real one, and counters that end, fall and wrap."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.fix_probes import values
from probes.scst.fix_scst import ONE, TGT1, Appliance, attributes
from storewatch_reader.scst import LATENCY
from storewatchd.core.frames import Scope
from storewatchd.errors import ProbeAbsent, ProbeDeferred
from storewatchd.probes.scst.latency import (
    AGAIN_AFTER_S,
    MOST_SESSIONS,
    Latencies,
    Stage,
    parse_latency,
)
from storewatchd.probes.scst.model import Identity
from storewatchd.probes.scst.tree import Attributes

MEASURED = "run1/10-during-io-measure_latency"
HEAD = b"state count min max avg stddev\n"
SESSION = f"targets/iscsi/{TGT1}/sessions/{ONE}"
FIRST = Identity("iscsi", TGT1, ONE, "10100003d0200")
SECOND = Identity("iscsi", TGT1, ONE, "30300003d0200")


def table(count: int, average: float, longest: float = 9.0) -> bytes:
    return HEAD + f"EXEC_WAIT {count} 0.1 {longest:.1f} {average:.1f} 0.3 us\n".encode()


def tree(**tables: bytes) -> Attributes:
    """Return a session with tables."""
    return {
        f"{SESSION}/initiator_name": f"{ONE}\n".encode(),
        f"{SESSION}/sid": b"10100003d0200\n",
        **{f"{SESSION}/latency/{name}": content for name, content in tables.items()},
    }


def total(latencies: Latencies, kind: str = "r") -> tuple[int, float, float]:
    found = latencies.totals[FIRST, "EXEC_WAIT", kind]
    return found.count, pytest.approx(found.sum_us), found.max_us  # type: ignore[return-value]


# The real one.


def test_a_table_is_told_by_stage() -> None:
    content = attributes(MEASURED, LATENCY)[f"{SESSION}_1/latency/w65536"]
    found = parse_latency(content)
    assert len(found) == 22
    assert found["EXEC_WAIT"] == Stage(770, 770 * 472.5, 20624.0)
    assert found["RDY_TO_XFER"] == Stage(770, 770 * 1124.7, 21760.8)
    assert found["total"] == Stage(770, 770 * 2526.1, 0.0)


def test_kinds_of_commands_are_added_up_over_their_sizes() -> None:
    latencies = Latencies()
    latencies.take(attributes(MEASURED, LATENCY))
    read = latencies.totals[SECOND, "EXEC_WAIT", "r"]
    # 512 to 262,144 bytes
    counts = (30, 1696, 8, 573, 16, 24, 8, 4)
    averages = (24.5, 29.4, 25.1, 1289.7, 63.7, 211.0, 277.7, 965.0)
    assert read.count == sum(counts)
    assert read.sum_us == pytest.approx(sum(map(lambda c, a: c * a, counts, averages)))
    assert read.max_us == 36594.0
    assert latencies.totals[FIRST, "total", "n"].count == 4
    assert {kind for _, _, kind in latencies.totals} == {"n", "r", "w"}
    assert {identity for identity, _, _ in latencies.totals} == {FIRST, SECOND}


def test_a_table_of_nothing_says_nothing() -> None:
    assert parse_latency(HEAD) == {}
    latencies = Latencies()
    latencies.take(attributes("run1/09-during-io-t5", LATENCY))
    assert latencies.totals == {}


# Over looks.


def test_what_came_since_is_added() -> None:
    latencies = Latencies()
    for content in (table(10, 5.0), table(10, 5.0), table(30, 7.0)):
        latencies.take(tree(r512=content))
    assert total(latencies) == (30, 210.0, 9.0)


def test_a_sum_does_not_fall_because_an_average_is_rounded() -> None:
    latencies = Latencies()
    latencies.take(tree(r512=table(1000, 5.0)))
    latencies.take(tree(r512=table(1001, 4.9)))
    assert total(latencies) == (1001, 5000.0, 9.0)


def test_a_table_that_was_emptied_counts_anew() -> None:
    latencies = Latencies()
    latencies.take(tree(r512=table(10, 5.0, 40.0), r4096=table(7, 2.0)))
    latencies.take(tree(r512=table(2, 3.0), r4096=table(8, 2.0)))
    assert total(latencies) == (20, 72.0, 9.0)


def test_a_table_that_was_emptied_and_has_slow_commands_counts_anew() -> None:
    latencies = Latencies()
    latencies.take(tree(r512=table(10, 5.0)))
    latencies.take(tree(r512=table(5, 100.0)))
    assert total(latencies) == (15, 550.0, 9.0)


def test_a_count_of_32_bits_that_is_over_goes_on() -> None:
    latencies = Latencies()
    latencies.take(tree(r512=table((1 << 32) - 10, 5.0)))
    whole = ((1 << 32) - 10) * 5.0
    # The average is the sum by the count, which is small now.
    latencies.take(tree(r512=table(20, (whole + 150) / 20)))
    count, sum_us, _ = total(latencies)
    assert (count, sum_us) == ((1 << 32) + 20, whole + 150)


def test_a_session_that_is_gone_is_gone() -> None:
    latencies = Latencies()
    latencies.take(tree(r512=table(10, 5.0)))
    latencies.take({})
    assert latencies.totals == {}
    latencies.take(tree(r512=table(12, 5.0)))
    assert total(latencies) == (12, 60.0, 9.0)


def test_another_session_in_the_same_directory_counts_for_itself() -> None:
    latencies = Latencies()
    latencies.take(tree(r512=table(10, 5.0)))
    latencies.take({**tree(r512=table(12, 5.0)), f"{SESSION}/sid": b"50200003d0200\n"})
    (found,) = latencies.totals.items()
    assert (found[0][0].sid, found[1].count) == ("50200003d0200", 12)


def test_tables_of_nobody_are_left_out() -> None:
    latencies = Latencies()
    latencies.take({f"{SESSION}/latency/r512": table(10, 5.0)})
    assert latencies.totals == {}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(table(10, 5.0)[:-1], id="cut off"),
        pytest.param(table(10, 5.0).replace(b" us", b" ns"), id="another unit"),
        pytest.param(table(10, 5.0).replace(b"count", b"n"), id="other columns"),
        pytest.param(table(10, 5.0) + b"nonsense\n", id="another line"),
        pytest.param(b"", id="empty"),
        pytest.param(-5, id="error"),
        pytest.param(None, id="absent"),
    ],
)
def test_a_table_that_says_something_else_says_nothing(content: bytes | int | None) -> None:
    assert parse_latency(content) == {}


@given(st.lists(st.tuples(st.integers(0, 1 << 32), st.integers(0, 10**7)), max_size=12))
def test_totals_never_fall(tables: list[tuple[int, int]]) -> None:
    latencies, counts, sums = Latencies(), [0], [0.0]
    for count, average in tables:
        latencies.take(tree(r512=table(count, average / 10)))
        counts.append(latencies.totals[FIRST, "EXEC_WAIT", "r"].count)
        sums.append(latencies.totals[FIRST, "EXEC_WAIT", "r"].sum_us)
    assert counts == sorted(counts)
    assert sums == sorted(sums)


@given(garbage=st.binary(max_size=80), cut=st.integers(0, 80), byte=st.integers(0, 255))
def test_garbled_tables_harm_nothing(garbage: bytes, cut: int, byte: int) -> None:
    whole = table(10, 5.0)
    flipped = whole[:cut] + bytes([byte]) + whole[cut + 1 :]
    latencies = Latencies()
    latencies.take(tree(r512=garbage, r1024=flipped, w512=whole[:cut], n512=whole + garbage))
    for one in latencies.totals.values():
        assert one.count >= 0
        assert one.sum_us >= 0


# The probe.


@pytest.fixture
def appliance() -> Appliance:
    appliance = Appliance(MEASURED)
    appliance.look()
    return appliance


SCOPE = Scope("scst_latency")


def test_it_is_looked_at_while_it_is_measured_and_not_before() -> None:
    appliance = Appliance("run1/09-during-io-t5")
    appliance.look()
    assert appliance.scopes("scst_latency") == ()
    with pytest.raises(ProbeAbsent, match="measures no latency"):
        appliance.look("scst_latency")
    appliance.be(MEASURED)
    appliance.look()
    assert appliance.scopes("scst_latency") == (SCOPE,)
    assert ("scst.latency", "") not in appliance.asked_for


def test_it_is_told_by_session_stage_and_kind(appliance: Appliance) -> None:
    frame = appliance.look("scst_latency")
    labels = ("iscsi", TGT1, ONE, "30300003d0200", "EXEC_WAIT", "w")
    name = "scst_session_latency_stage_seconds"
    assert values(frame, f"{name}_count")[labels] == 770
    assert values(frame, f"{name}_sum")[labels] == pytest.approx(770 * 472.5e-6)
    assert values(frame, f"{name}_max")[labels] == pytest.approx(0.020624)


def test_tables_are_read_once_a_minute(appliance: Appliance) -> None:
    def reads() -> int:
        return appliance.asked_for.count(("scst.latency", ""))

    appliance.look("scst_latency")
    appliance.look("scst_latency", after_s=AGAIN_AFTER_S - 1)
    assert reads() == 1
    appliance.look("scst_latency", after_s=1)
    assert reads() == 2


def test_too_many_sessions_are_left_alone(appliance: Appliance) -> None:
    cheap = appliance.readings["scst.cheap", ""]
    crowd = {f"targets/iscsi/{TGT1}/sessions/s{number}/": b"" for number in range(MOST_SESSIONS)}
    appliance.readings["scst.cheap", ""] = {**cheap, **crowd}
    appliance.look()
    with pytest.raises(ProbeDeferred, match="sessions have too many tables"):
        appliance.look("scst_latency")
