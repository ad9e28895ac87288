"""Commands that need a connection to the broker. What connects is imported when they run; help does without."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

from taskserver.cli.options import broker_option

Command = Callable[..., Coroutine[Any, Any, None]]


def with_client(command: Command) -> Callable[..., None]:
    """Make ``async def command(client, …)`` a command with the option ``--broker``."""

    @broker_option
    @wraps(command)
    def run(broker_url: str | None, **parameters: Any) -> None:
        from taskserver.cli.running import run_with_client

        run_with_client(command, broker_url, parameters)

    return run


def with_inspector(command: Command) -> Callable[..., None]:
    """Make ``async def command(inspector, …)`` a command with the option ``--broker``."""

    @broker_option
    @wraps(command)
    def run(broker_url: str | None, **parameters: Any) -> None:
        from taskserver.cli.running import run_with_inspector

        run_with_inspector(command, broker_url, parameters)

    return run
