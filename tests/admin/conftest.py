"""An inspector of an empty broker; for what it does, one kind of broker is enough."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from taskserver import Inspector


@pytest.fixture
def broker_url(one_broker_url: str) -> str:
    """URL of an empty broker."""
    return one_broker_url


@pytest.fixture
async def inspector(broker_url: str) -> AsyncIterator[Inspector]:
    """An inspector of an empty broker."""
    async with Inspector(broker_url) as inspector:
        yield inspector
