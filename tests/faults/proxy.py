"""A TCP proxy between the product and a real broker: it does what networks do to connections.

What strikes one request is planned as a ``Fault``; what befalls everybody is set or called on the ``Proxy``::

    lost = proxy.plan(Fault(script("submit").sha, reply=0))      # the next submit is done, and its answer is lost
    ...
    await lost.happened.wait()

    proxy.delay = 0.5                                            # seconds, each way
    proxy.rejecting = True                                       # who connects is hung up on at once
    proxy.hole()                                                 # all connections of now are dead, and nobody is told

It knows just enough of RESP to tell requests, and which reply belongs to which.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import urlsplit

CHUNK = 65_536
STEP_SECONDS = 0.05
"""Where the rate is limited, a step of at least one byte is passed on so often."""


class How(Enum):
    """What a fault does to the connection, once so many bytes are through."""

    CUT = "both sides are closed"
    HALF_CLOSE = "the one who waits for more hears the end; the other direction stays open"
    HOLE = "nothing comes through any more, either way, and nobody is told"
    NOTHING = "it is only noted that the request came"


@dataclass(eq=False)
class Fault:
    """Strikes requests that contain ``where``: a script's SHA, the name of a command, a job's key.

    Attributes:
        where: Part of the request.
        request: Bytes of the request that get through; None for all of it.
        reply: Bytes of its reply that get through, where the request did.
        how: What happens then.
        skip: How many such requests it lets pass first.
        times: How many requests it strikes then.
        struck: How many it has struck.
        happened: Set when it has struck for the first time.
        request_size: Bytes of the last request that it struck.
        reply_size: Bytes of its reply.
    """

    where: str
    request: int | None = None
    reply: int = 0
    how: How = How.CUT
    skip: int = 0
    times: int = 1
    struck: int = 0
    happened: asyncio.Event = field(default_factory=asyncio.Event)
    request_size: int = 0
    reply_size: int = 0


class Proxy:
    """Listens on a loopback port and passes everything on to a broker, but for what goes wrong.

    Attributes:
        delay: Seconds by which everything is late, each way.
        rate: Bytes a second, each way and for each connection; None for as fast as it goes.
        rejecting: Connections are closed as soon as they are made.
        silent: Connections are made, and never answered.
        attempts: When each connection was made or rejected, by the monotonic clock.
        links: The connections of now.
    """

    def __init__(self, url: str) -> None:
        self._upstream = urlsplit(url)
        self._faults: list[Fault] = []
        self._server: asyncio.Server | None = None
        self.delay = 0.0
        self.rate: float | None = None
        self.rejecting = False
        self.silent = False
        self.attempts: list[float] = []
        self.links: set[Link] = set()

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=CHUNK, backlog=1_000)

    @property
    def url(self) -> str:
        """The broker's URL, by way of this proxy."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()
        return f"redis://{host}:{port}"

    def plan(self, fault: Fault) -> Fault:
        """Let it strike."""
        self._faults.append(fault)
        return fault

    def heal(self) -> None:
        """Nothing strikes any more. Connections that are dead stay so."""
        self._faults.clear()
        self.delay, self.rate, self.rejecting, self.silent = 0.0, None, False, False

    def those(self, saying: str = "") -> list[Link]:
        """Connections whose last request contains ``saying``."""
        return [link for link in self.links if saying.encode() in link.last]

    def cut(self, saying: str = "") -> None:
        """Close connections."""
        for link in self.those(saying):
            link.close()

    def hole(self, saying: str = "") -> None:
        """Connections are dead from now on, and nobody is told."""
        for link in self.those(saying):
            link.dead = True

    async def close(self) -> None:
        """Close everything."""
        assert self._server is not None
        self._server.close()
        self.cut()
        while self.links:
            await asyncio.sleep(0)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.attempts.append(time.monotonic())
        if self.rejecting:
            writer.transport.abort()
            return
        link = Link(self, reader, writer)
        self.links.add(link)
        try:
            await link.live()
        finally:
            self.links.discard(link)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._upstream.scheme == "unix":
            return await asyncio.open_unix_connection(self._upstream.path)
        return await asyncio.open_connection(self._upstream.hostname, self._upstream.port or 6379)

    def _fault_for(self, request: bytes) -> Fault | None:
        for fault in self._faults:
            if fault.struck < fault.times and fault.where.encode() in request:
                if fault.skip:
                    fault.skip -= 1
                else:
                    fault.struck += 1
                    return fault
        return None


class Link:
    """One connection through the proxy.

    Attributes:
        last: The last request.
        dead: Nothing comes through any more.
    """

    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._client, self._to_client = reader, writer
        self._to_broker: asyncio.StreamWriter | None = None
        self._faults: deque[Fault | None] = deque()
        self._subscribed = False
        self._ended: asyncio.StreamWriter | None = None
        self._closed = asyncio.Event()
        self.last = b""
        self.dead = proxy.silent

    async def live(self) -> None:
        """Pass on what comes until the connection ends."""
        tasks = [asyncio.create_task(self._pass_on()), asyncio.create_task(self._closed.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for writer in (self._to_client, self._to_broker):
                if writer is not None:
                    writer.close()
                    with suppress(OSError):
                        await writer.wait_closed()

    def close(self) -> None:
        """Close both sides."""
        self._closed.set()

    async def _pass_on(self) -> None:
        with suppress(OSError):
            broker, self._to_broker = await self._proxy._connect()
            await asyncio.gather(
                self._each(self._client, self._to_broker, self._request),
                self._each(broker, self._to_client, self._reply),
            )

    async def _each(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pass_on: Callable[[bytes], Awaitable[None]]
    ) -> None:
        """Every request or reply of one direction; then the end, so that the other side hears it too."""
        rest = b""
        while chunk := await reader.read(CHUNK):
            if self._proxy.delay:
                await asyncio.sleep(self._proxy.delay)
            # What a subscriber receives are notifications, which belong to no request.
            values, rest = ([rest + chunk], b"") if self._subscribed else split(rest + chunk)
            for value in values:
                await pass_on(value)
        if reader is self._client:
            self.close()
        elif not self.dead and writer is not self._ended:
            writer.write_eof()

    async def _request(self, request: bytes) -> None:
        assert self._to_broker is not None
        self.last = request
        self._subscribed |= b"SUBSCRIBE" in request[:40]
        fault = self._proxy._fault_for(request)
        if fault is not None:
            fault.request_size = len(request)
            if fault.request is not None:
                await self._strike(fault, request[: fault.request], self._to_broker)
                return
        self._faults.append(fault)
        await self._write(self._to_broker, request)

    async def _reply(self, reply: bytes) -> None:
        fault = self._faults.popleft() if self._faults else None
        if fault is None:
            await self._write(self._to_client, reply)
        else:
            fault.reply_size = len(reply)
            await self._strike(fault, reply if fault.how is How.NOTHING else reply[: fault.reply], self._to_client)

    async def _strike(self, fault: Fault, through: bytes, writer: asyncio.StreamWriter) -> None:
        await self._write(writer, through)
        match fault.how:
            case How.CUT:
                self.close()
            case How.HALF_CLOSE:
                self._ended = writer
                writer.write_eof()
            case How.HOLE:
                self.dead = True
        fault.happened.set()

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        rate = self._proxy.rate
        step = max(1, int(rate * STEP_SECONDS)) if rate else max(1, len(data))
        for start in range(0, len(data), step):
            if self.dead or self._closed.is_set() or writer is self._ended:
                return
            writer.write(data[start : start + step])
            await writer.drain()
            if rate:
                await asyncio.sleep(step / rate)


def split(data: bytes) -> tuple[list[bytes], bytes]:
    """The whole RESP values at the beginning of ``data``, and the rest."""
    whole, start = [], 0
    while (end := _end(data, start)) is not None:
        whole.append(data[start:end])
        start = end
    return whole, data[start:]


def _end(data: bytes, start: int) -> int | None:
    """Where the value that begins at ``start`` ends; None if it is not all there."""
    line = data.find(b"\r\n", start)
    if line < 0:
        return None
    kind, end = data[start : start + 1], line + 2
    if kind == b"$":
        length = int(data[start + 1 : line])
        end += length + 2 if length >= 0 else 0
    elif kind == b"*":
        for _ in range(int(data[start + 1 : line])):
            inner = _end(data, end)
            if inner is None:
                return None
            end = inner
    return end if end <= len(data) else None
