"""The table of methods holds together."""

import msgspec
import pytest

from storewatch.wire.methods import METHODS
from storewatch.wire.params import Params


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_method_refuses_a_parameter_that_it_does_not_know(name: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=r"unknown field|missing required"):
        msgspec.convert({"no_such_parameter": 1}, METHODS[name].params)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_methods_types_are_ones_that_can_be_decoded(name: str) -> None:
    method = METHODS[name]
    assert issubclass(method.params, Params)
    # Building a decoder looks at every field; a wrong annotation fails here.
    msgspec.json.Decoder(method.result)
    msgspec.json.Decoder(method.params)
