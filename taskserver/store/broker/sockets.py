"""The client library's connections, with two changes.

*Packing.* A batch has hundreds of arguments; packing them in Python costs more than anything else that a worker does.
The library has hiredis' packer, but uses it for its blocking connections only.

*Sending.* The library sends inside ``asyncio.wait_for``, which before Python 3.12 makes a task for each command, and
swallows a cancellation that comes just as the send is done (python/cpython issue 86296): a Ctrl-C would be lost.
"""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

import hiredis
from redis import exceptions as redis_errors


@cache
def patched(connection_class: Any) -> Any:
    """The connection class with both changes."""
    name = connection_class.__name__
    return type(name, (connection_class,), {"pack_command": _pack, "send_packed_command": _send})


def _pack(_: Any, *args: Any) -> list[bytes]:
    name, *rest = args
    command = name.encode().split() if isinstance(name, str) else name.split()
    return [hiredis.pack_command((*command, *rest))]


async def _send(self: Any, command: Any, check_health: bool = True) -> None:
    if not self.is_connected:
        await self.connect_check_health(check_health=False)
    try:
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
