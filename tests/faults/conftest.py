"""Faults are tried on the queue that the store's tests use; assertions of the simulation tell what they compared."""

from __future__ import annotations

import pytest

from tests.store.conftest import queue

__all__ = ["queue"]

pytest.register_assert_rewrite("tests.faults.simulation")
