"""Telling a service manager that the service is ready, alive and stopping: sd_notify(3), a datagram each."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress


async def notify_service_manager(
    ready: Callable[[], Awaitable[object]], stopping: Callable[[], Awaitable[object]]
) -> None:
    """Tell the service manager in ``NOTIFY_SOCKET``, if any, of this process's life; returns once it stops.

    Args:
        ready: Waits until it is ready.
        stopping: Waits until it stops.
    """
    place = os.environ.pop("NOTIFY_SOCKET", "")  # so that no program that is started from here speaks in its name
    pause = _watchdog_seconds()
    if not place:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:

        def tell(what: str) -> None:
            with suppress(OSError):  # it is away, or does not listen just now
                channel.sendto(what.encode(), "\0" + place[1:] if place.startswith("@") else place)

        channel.setblocking(False)
        await ready()
        tell(f"READY=1\nMAINPID={os.getpid()}")
        leaving = asyncio.ensure_future(stopping())
        try:
            while not leaving.done():
                await asyncio.wait((leaving,), timeout=pause)
                tell("STOPPING=1" if leaving.done() else "WATCHDOG=1")
        finally:
            leaving.cancel()


def _watchdog_seconds() -> float | None:
    """Half of the time after which the service manager takes this process for dead; None if it does not watch."""
    microseconds = os.environ.pop("WATCHDOG_USEC", "")
    meant = os.environ.pop("WATCHDOG_PID", str(os.getpid()))
    return int(microseconds) / 2e6 if microseconds.isdigit() and meant == str(os.getpid()) else None
