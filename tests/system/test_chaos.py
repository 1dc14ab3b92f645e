"""Two hundred power cuts under load: nothing that was answered is lost, doubled or out of order."""

import pytest

from system import chaos
from system.appliance import Appliance


@pytest.mark.timeout(600)  # two hundred kills, and as many starts
def test_two_hundred_kills_under_ten_thousand_calls_lose_nothing(appliance: Appliance) -> None:
    print(chaos.run(appliance, seed=20261125, rounds=200, calls=10_000))
