"""Pages: as many rows as fit, and at least one."""

import pytest

from storewatchd.control.pages import PAGE_BYTES, fitting

HALF = b"x" * (PAGE_BYTES // 2)


@pytest.mark.parametrize(
    ("rows", "count"),
    [
        pytest.param([], 0, id="none"),
        pytest.param([b"1", b"2"], 2, id="short ones"),
        pytest.param([HALF, HALF], 2, id="just as many as fit"),
        pytest.param([HALF, HALF, b"1"], 2, id="one too many"),
        pytest.param([HALF * 3, b"1"], 1, id="a first one that is too long"),
    ],
)
def test_a_page_has_the_first_rows_that_fit(rows: list[bytes], count: int) -> None:
    assert [bytes(one) for one in fitting(rows)] == rows[:count]


def test_no_row_is_made_that_is_looked_at_in_vain() -> None:
    rows = iter([HALF, HALF, HALF, b"next"])
    fitting(rows)
    assert next(rows) == b"next"
