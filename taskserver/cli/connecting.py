"""The one place where commands connect to a broker, and where their event loop runs."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, TypeVar

from taskserver.admin import Inspector
from taskserver.aio import cancel_and_wait
from taskserver.cli.options import broker_option
from taskserver.client.client import Client

T = TypeVar("T")
Command = Callable[..., Coroutine[Any, Any, None]]


def with_client(command: Command) -> Callable[..., None]:
    """Make ``async def command(client, …)`` a command with the option ``--broker``."""
    return _connected(Client, command)


def with_inspector(command: Command) -> Callable[..., None]:
    """Make ``async def command(inspector, …)`` a command with the option ``--broker``."""
    return _connected(Inspector, command)


def _connected(kind: type[Client | Inspector], command: Command) -> Callable[..., None]:
    @broker_option
    @wraps(command)
    def run(broker_url: str | None, **parameters: Any) -> None:
        async def main() -> None:
            async with kind(broker_url) as connection:
                await connection.check()  # awaiting a result would wait for a broker that is down without end
                await command(connection, **parameters)

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
