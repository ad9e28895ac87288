"""Fixtures for the tests of programs that use taskserver. Pytest loads this file by itself.

It is part of every run of pytest, so it imports the rest only for a test that asks for it. The fixtures are not async:
they work with every plugin for async tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from taskserver.client.client import Client


@pytest.fixture
def taskserver_broker() -> Iterator[str]:
    """URL of an empty broker of this process's own, which ``Client()`` without a URL uses during the test."""
    from taskserver.testing import private_broker

    with private_broker() as url:
        yield url


@pytest.fixture
def taskserver_worker(taskserver_broker: str) -> Callable[..., AbstractAsyncContextManager[Client]]:
    """Runs workers as ``running_worker`` does, on ``taskserver_broker``.

    ::

        async with taskserver_worker(add) as client: ...
    """
    from taskserver.testing import running_worker

    return running_worker
