"""Whatever a test here does, it leaves nothing in the broker that would stay for ever."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.leaks import leaked


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test after which a key without a time to live is left that should have one."""
    url = request.getfixturevalue("broker_url") if "broker_url" in request.fixturenames else None
    yield
    if url is not None:
        assert leaked(url) == []
