"""What most probes need."""

import errno

import pytest

from storewatchd.core.frames import Family, Frame, MetricType, Outcome, Row, Scope
from storewatchd.errors import ReadRefused
from storewatchd.probes.base import check_permitted, counter, gauge, seen


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


@pytest.mark.parametrize("error", [errno.EACCES, errno.EPERM])
def test_what_may_not_be_read_is_refused_by_its_name(error: int) -> None:
    with pytest.raises(ReadRefused, match=r"^a/size: ") as caught:
        check_permitted({"b/size": b"1", "a/size": -error})
    assert caught.value.errno == error


def test_what_cannot_be_read_for_another_reason_is_permitted() -> None:
    check_permitted({"a": b"1", "b": -errno.ENOENT, "c": -errno.EIO})
