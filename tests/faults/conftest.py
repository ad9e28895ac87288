"""Faults are tried on the queue that the store's tests use, and on servers of every kind at hand."""

from __future__ import annotations

import pytest

from tests.brokers import kinds
from tests.store.conftest import queue

__all__ = ["binary", "queue"]

# Assertions of the simulation tell what they compared.
pytest.register_assert_rewrite("tests.faults.simulation")


@pytest.fixture(params=sorted(name for name, where in kinds().items() if "://" not in where))
def binary(request: pytest.FixtureRequest) -> str:
    """Path of a server; the test runs once for each kind at hand."""
    return kinds()[request.param]
