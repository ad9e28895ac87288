"""What the tests of faults share: a server binary of each kind at hand."""

from __future__ import annotations

import pytest

from tests.brokers import kinds


@pytest.fixture(params=sorted(name for name, where in kinds().items() if "://" not in where))
def binary(request: pytest.FixtureRequest) -> str:
    """Path of a server; the test runs once for each kind at hand."""
    return kinds()[request.param]
