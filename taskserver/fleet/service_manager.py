"""Notifying a service manager (systemd) that the service is ready, alive and stopping: sd_notify(3)."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress


async def notify_service_manager(
    ready: Callable[[], Awaitable[object]], stopping: Callable[[], Awaitable[object]]
) -> None:
    """Notify the service manager at ``NOTIFY_SOCKET``, if there is one; return once the service stops.

    Args:
        ready: Returns once the service is ready.
        stopping: Returns once it stops.
    """
    address = os.environ.pop("NOTIFY_SOCKET", "")  # so that no program started from here speaks in our name
    interval = _watchdog_seconds()
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:

        def notify(state: str) -> None:
            with suppress(OSError):  # the service manager is gone, or does not listen just now
                channel.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)

        channel.setblocking(False)
        await ready()
        notify(f"READY=1\nMAINPID={os.getpid()}")
        stopped = asyncio.ensure_future(stopping())
        try:
            while not stopped.done():
                await asyncio.wait((stopped,), timeout=interval)
                notify("STOPPING=1" if stopped.done() else "WATCHDOG=1")
        finally:
            stopped.cancel()


def _watchdog_seconds() -> float | None:
    """Half of the time after which the service manager considers this process dead; None if it does not watch."""
    microseconds = os.environ.pop("WATCHDOG_USEC", "")
    meant_for = os.environ.pop("WATCHDOG_PID", str(os.getpid()))
    return int(microseconds) / 2e6 if microseconds.isdigit() and meant_for == str(os.getpid()) else None
