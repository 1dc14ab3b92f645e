"""Errors keep their facts and make the sentence."""

import inspect

import pytest

from storewatchd import errors
from storewatchd.errors import (
    ConfigError,
    ExpressionError,
    Malformed,
    NotFound,
    ProbeAbsent,
    ProbeFailed,
    ReadRefused,
    ReadStuck,
    RuleError,
    StorewatchError,
)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        pytest.param(
            ConfigError("/a.toml", "b.c", expected="text", found="3"),
            "/a.toml: b.c: expected text, found 3",
            id="setting",
        ),
        pytest.param(
            ConfigError("/a.toml", "", expected="TOML", found="nothing"),
            "/a.toml: expected TOML, found nothing",
            id="settings file",
        ),
        pytest.param(RuleError("it is wrong"), "it is wrong", id="rule at no place"),
        pytest.param(
            RuleError("it is wrong", path="/r.yml"), "/r.yml: it is wrong", id="rule of a file"
        ),
        pytest.param(
            RuleError("it is wrong", path="/r.yml", line=3, column=9),
            "/r.yml:3:9: it is wrong",
            id="rule at a place",
        ),
        pytest.param(
            RuleError("it is wrong", path="/r.yml", column=9),
            "/r.yml: it is wrong",
            id="no column without a line",
        ),
        pytest.param(
            ExpressionError("it is wrong", line=1, column=4), "1:4: it is wrong", id="expression"
        ),
        pytest.param(ProbeAbsent("nothing there"), "nothing there", id="probe"),
        pytest.param(ProbeFailed("it is dark", probe="p"), "p: it is dark", id="named probe"),
        pytest.param(
            ReadStuck("it hangs", key="k", since=1.0, probe="p"), "p: it hangs", id="stuck"
        ),
        pytest.param(ReadRefused("it is broken", errno=5), "it is broken", id="refused"),
        pytest.param(
            Malformed("log page 0Ch", 4, "a parameter of 8 bytes"),
            "log page 0Ch, byte 4: expected a parameter of 8 bytes",
            id="bytes",
        ),
        pytest.param(NotFound("nothing is here", id="x"), "nothing is here", id="request"),
    ],
)
def test_the_sentence_says_where_and_what(error: StorewatchError, sentence: str) -> None:
    assert str(error) == sentence


def test_facts_are_kept() -> None:
    assert (stuck := ReadStuck("it hangs", key="k", since=1.0)).key == "k"
    assert stuck.since == 1.0
    assert ReadRefused("it is broken", errno=5).errno == 5
    assert NotFound("nothing is here", id="x").facts == {"id": "x"}


EVERY_ERROR = [
    kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind is not StorewatchError
]


@pytest.mark.parametrize("kind", EVERY_ERROR, ids=lambda kind: kind.__name__)
def test_every_error_is_in_the_tree_and_drawn(kind: type) -> None:
    assert issubclass(kind, StorewatchError)
    assert kind.__name__ in (errors.__doc__ or "")
