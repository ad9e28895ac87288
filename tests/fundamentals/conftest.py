"""No test here may leave anything in the broker for ever."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.leaks import leaked


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test that leaves a key without the time to live that it should have."""
    url = request.getfixturevalue("broker_url") if "broker_url" in request.fixturenames else None
    yield
    if url is not None:
        assert leaked(url) == []
