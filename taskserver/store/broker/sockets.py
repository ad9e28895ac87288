"""The client library's connections, with four changes.

*Packing.* A batch has hundreds of arguments; packing them in Python costs more than anything else that a worker does.
The library has hiredis' packer, but uses it for its blocking connections only.

*Sending.* The library sends inside ``asyncio.wait_for``, which before Python 3.12 makes a task for each command, and
swallows a cancellation that comes just as the send is done (python/cpython issue 86296): a Ctrl-C would be lost.

*Reading.* The library's time limit is for a whole answer. Here it is for the next bytes of it: a large answer may take
its time over a slow link.

*Closed transports.* When one task finds that a connection is broken and closes it, another one that uses it gets what
the transport or the library raises then, such as ``RuntimeError`` or ``AttributeError``. Here it is a
``ConnectionError``.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import hiredis
from redis import exceptions as redis_errors
from redis._parsers import _AsyncHiredisParser


@cache
def patched(connection_class: Any, *, reading: bool = True) -> Any:
    """The connection class with these changes; without ``reading``, its reads stay the library's."""

    async def read_response(self: Any, *args: Any, timeout: float | None = None, **options: Any) -> Any:
        self._parser.patience = self.socket_timeout if timeout is None else None
        with _closed_by_another():
            return await connection_class.read_response(
                self, *args, timeout=math.inf if timeout is None else timeout, **options
            )

    def set_parser(self: Any, _: Any) -> None:
        connection_class.set_parser(self, _PatientParser)

    changes: dict[str, Any] = {"pack_command": _pack, "send_packed_command": _send}
    if reading:
        changes |= {"read_response": read_response, "set_parser": set_parser}
    return type(connection_class.__name__, (connection_class,), changes)


class _PatientParser(_AsyncHiredisParser):
    """Reads answers; ``patience`` is the seconds for which it waits for bytes, None for any time."""

    patience: float | None = None

    async def read_from_socket(self) -> bool:
        try:
            async with asyncio.timeout(self.patience):
                return bool(await super().read_from_socket())  # type: ignore[no-untyped-call]
        except TimeoutError:
            if self.patience is None:  # the time limit of whoever called
                raise
            raise redis_errors.TimeoutError("no answer in time") from None


@contextmanager
def _closed_by_another() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, AttributeError) as error:
        raise redis_errors.ConnectionError("the connection was closed") from error


def _pack(_: Any, *args: Any) -> list[bytes]:
    name, *rest = args
    command = name.encode().split() if isinstance(name, str) else name.split()
    return [hiredis.pack_command((*command, *rest))]


async def _send(self: Any, command: Any, check_health: bool = True) -> None:
    if not self.is_connected:
        await self.connect_check_health(check_health=False)
    try:
        with _closed_by_another():
            async with asyncio.timeout(self.socket_timeout):
                self._writer.writelines([command] if isinstance(command, bytes) else command)
                await self._writer.drain()
    except TimeoutError:
        await self.disconnect(nowait=True)
        raise redis_errors.TimeoutError("a command could not be sent in time") from None
    except BaseException:
        # What was sent so far cannot be taken back, so the connection is of no more use.
        await self.disconnect(nowait=True)
        raise
