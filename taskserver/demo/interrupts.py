"""Signals that end the demo, such as Ctrl-C: it cleans up first."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
CANCEL_AGAIN_SECONDS = 0.2


class Interrupted(BaseException):
    """A signal ended the demo.

    Attributes:
        exit_code: 128 plus the signal's number, as in a shell.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise ``Interrupted`` at a signal, instead of ending the process at once."""
    before = {number: signal.signal(number, _raise) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def caught_signal() -> Iterator[asyncio.Future[int]]:
    """In the event loop: a future for the first signal, which interrupts nothing but ``until_signal``."""
    loop = asyncio.get_running_loop()
    caught: asyncio.Future[int] = loop.create_future()

    def catch(number: int) -> None:
        if not caught.done():
            caught.set_result(number)

    for number in SIGNALS:
        loop.add_signal_handler(number, catch, number)
    try:
        yield caught
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)  # the rest is short, and cleans up


async def until_signal(work: Coroutine[Any, Any, T], caught: asyncio.Future[int]) -> T:
    """Await ``work``, or cancel it at a signal.

    Raises:
        Interrupted: after a signal.
    """
    task = asyncio.create_task(work)
    await asyncio.wait((task, caught), return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        return task.result()
    while not task.done():
        task.cancel()  # more than once: asyncio.wait_for, before Python 3.12, may swallow a cancellation
        await asyncio.wait((task,), timeout=CANCEL_AGAIN_SECONDS)
    raise Interrupted(caught.result())


def _raise(number: int, _: FrameType | None) -> NoReturn:
    raise Interrupted(number)
