"""How a client inside an attempt tells the worker that the attempt waits for another job."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol


class AwaitObserver(Protocol):
    """Is told when a caller begins and stops waiting for a job of a queue, in the caller's context and thread."""

    def begin(self, queue: str) -> None:
        """A caller waits for a job of this queue, or of this partition."""

    def end(self, queue: str) -> None:
        """It does not wait any more."""


awaiting: ContextVar[AwaitObserver | None] = ContextVar("awaiting", default=None)
"""Whom clients tell in this context; a worker sets it once for all that it runs."""
