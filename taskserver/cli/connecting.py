"""The one place where commands open a client, and where their event loop runs."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any, TypeVar

from taskserver.aio import cancel_and_wait
from taskserver.cli.options import broker_option
from taskserver.client.client import Client

T = TypeVar("T")


@asynccontextmanager
async def open_client(url: str | None, *, answering: bool = True) -> AsyncIterator[Client]:
    """A client of the broker at ``url``, or of the one that the environment names, or of the embedded one.

    Args:
        url: As given on the command line.
        answering: Whether to make sure that the broker answers: awaiting a result would wait for it without end.

    Raises:
        ConfigError: if the URL cannot work.
        BrokerUnavailable, BrokerDenied: if the broker does not answer, or refuses.
    """
    async with Client(url) as client:
        if answering:
            await (await client.connect()).check_schema()
        yield client


def connected(command: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make ``async def command(client, …)`` a command with the option ``--broker``."""

    @broker_option
    @wraps(command)
    def run(broker_url: str | None, **parameters: Any) -> None:
        async def main() -> None:
            async with open_client(broker_url) as client:
                await command(client, **parameters)

        run_async(main())

    return run


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run work in an event loop; Ctrl-C cancels it, and a second one does not wait for its end.

    Raises:
        KeyboardInterrupt: after Ctrl-C.
    """
    return asyncio.run(_until_interrupted(work))


async def _until_interrupted(work: Coroutine[Any, Any, T]) -> T:
    """What asyncio does at Ctrl-C is to cancel once, which before Python 3.12 may be lost (see ``aio.py``)."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a shell script
        return await work
    loop, task, interrupted = asyncio.get_running_loop(), asyncio.create_task(work), asyncio.Event()
    waiting = asyncio.create_task(interrupted.wait())
    loop.add_signal_handler(signal.SIGINT, interrupted.set)
    await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
    loop.remove_signal_handler(signal.SIGINT)  # a second one does not wait
    await cancel_and_wait(waiting)
    if not task.done():
        await cancel_and_wait(task)
        raise KeyboardInterrupt
    return task.result()
