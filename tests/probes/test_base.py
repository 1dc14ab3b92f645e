"""What most probes need."""

from storewatchd.core.frames import Family, Frame, MetricType, Outcome, Row, Scope
from storewatchd.probes.base import counter, gauge, seen


def test_a_gauge_and_a_counter_are_families_of_their_type() -> None:
    assert gauge("full", "How full.", "disk", unit="ratio") == Family(
        "full", MetricType.GAUGE, "How full.", ("disk",), "ratio"
    )
    assert counter("read_total", "Reads.", "disk", "part") == Family(
        "read_total", MetricType.COUNTER, "Reads.", ("disk", "part"), ""
    )


def test_a_look_that_saw_everything_is_a_frame_without_a_time() -> None:
    rows = {"full": [Row(("sda",), 0.5)]}
    assert seen(Scope("p"), rows) == Frame(Scope("p"), 0.0, Outcome.SEEN, rows)
