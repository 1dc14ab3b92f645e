"""What is wrong with parameters is told in words, with the parameter's name."""

from typing import Any

import msgspec
import pytest

from storewatch.wire import params
from storewatch.wire.sentences import sentence_of


@pytest.mark.parametrize(
    ("kind", "given", "told"),
    [
        (params.AlertsList, {"limit": "x"}, "limit: expected a whole number, found text"),
        (params.AlertsList, {"limit": 0}, "limit: expected a whole number >= 1"),
        (params.AlertsList, {"since": 3}, "since: expected text, found a whole number"),
        (params.AlertsList, {"severity": "x"}, "severity: expected a list, found text"),
        (
            params.AlertsList,
            {"severity": ["info", "x - at `$`: y"]},
            "severity[1]: expected one of critical, info, warning, found 'x - at `$`: y'",
        ),
        (
            params.AlertCreate,
            {"severity": "x" * 500, "source": "s", "title": "t"},
            f"severity: expected one of critical, info, warning, found '{'x' * 99}",
        ),
        (params.AlertsList, {"nonsense": 1}, "unknown parameter nonsense"),
        (params.AlertId, {}, "missing parameter id"),
        (params.AlertId, {"id": ""}, "id: expected text of at least 1 character"),
        (params.TaskStart, {"name": "x" * 201}, "name: expected text of at most 200 characters"),
        (
            params.AlertCreate,
            {"severity": "info", "source": "s", "title": "t", "labels": {"": "x"}},
            "labels, a name in it: expected text of at least 1 character",
        ),
        (
            params.AlertCreate,
            {
                "severity": "info",
                "source": "s",
                "title": "t",
                "labels": {str(n): "" for n in range(65)},
            },
            "labels: expected an object of at most 64 members",
        ),
        (
            params.AlertsList,
            {"acknowledged": "x"},
            "acknowledged: expected true or false, found text",
        ),
    ],
)
def test_it_is_one_sentence(kind: Any, given: dict[str, Any], told: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(given, kind)
    assert sentence_of(caught.value, kind) == told
