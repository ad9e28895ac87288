"""The one place where commands connect to a broker, and where their event loop runs."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from taskserver.admin import Inspector
from taskserver.aio import cancel_and_wait
from taskserver.client.client import Client

T = TypeVar("T")
Command = Callable[..., Coroutine[Any, Any, None]]


def run_with_client(command: Command, url: str | None, parameters: dict[str, Any]) -> None:
    """Run ``command(client, **parameters)``."""
    run_async(_with(Client(url), command, parameters))


def run_with_inspector(command: Command, url: str | None, parameters: dict[str, Any]) -> None:
    """Run ``command(inspector, **parameters)``."""
    run_async(_with(Inspector(url), command, parameters))


async def _with(connection: Client | Inspector, command: Command, parameters: dict[str, Any]) -> None:
    async with connection:
        await connection.check()  # awaiting a result would wait for a broker that is down without end
        await command(connection, **parameters)


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
