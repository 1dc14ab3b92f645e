"""Measures the core while its own tests run, where the session runs under coverage.

What modules do as they are imported is measured whoever imports them; what they do later counts
only in the tests of this folder.
"""

from collections.abc import Iterator

import pytest

from core.meter import METER


def pytest_collection_finish() -> None:
    """Stop measuring once everything is imported."""
    if METER is not None:
        METER.stop()


@pytest.fixture(scope="module", autouse=True)
def measured() -> Iterator[None]:
    """Measure while the tests of a module run."""
    if METER is not None:
        METER.start()
    yield
    if METER is not None:
        METER.stop()
