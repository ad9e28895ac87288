"""Ctrl-C and its kin: the demo cleans up behind itself before it obeys."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


INSIST_SECONDS = 0.2


class Interrupted(BaseException):
    """A signal asked the demo to end.

    Attributes:
        exit_code: 128 and the signal's number, as shells tell it.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise ``Interrupted`` for the signals, also for those whose default is to end the process on the spot."""
    before = {number: signal.signal(number, _raise) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def listening() -> Iterator[asyncio.Future[int]]:
    """Inside the event loop: a future for the first signal. What is being done goes on; ``until_heard`` ends it."""
    loop = asyncio.get_running_loop()
    heard: asyncio.Future[int] = loop.create_future()

    def hear(number: int) -> None:
        if not heard.done():
            heard.set_result(number)

    for number in SIGNALS:
        loop.add_signal_handler(number, hear, number)
    try:
        yield heard
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)  # what follows is short, and puts things in order


async def until_heard(play: Coroutine[Any, Any, T], heard: asyncio.Future[int]) -> T:
    """Await ``play``, or cancel it when a signal is heard.

    Raises:
        Interrupted: after a signal.
    """
    task = asyncio.create_task(play)
    await asyncio.wait((task, heard), return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        return task.result()
    while not task.done():
        task.cancel()  # more than once: asyncio.wait_for, before Python 3.12, may swallow a cancellation
        await asyncio.wait((task,), timeout=INSIST_SECONDS)
    raise Interrupted(heard.result())


def _raise(number: int, _: FrameType | None) -> NoReturn:
    raise Interrupted(number)
