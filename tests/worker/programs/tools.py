"""Tools that send the test messages through a list of the broker, and wait at another for its answers."""

import asyncio
import os
import sys
import time

import redis
import redis.asyncio

from taskserver import Context, tool


async def _send(message: str) -> None:
    async with redis.asyncio.Redis.from_url(sys.argv[1]) as client:
        await client.rpush("test:messages", message)


def _send_at_once(message: str) -> None:
    """The same without a turn of the event loop, in which the tool's time could be up."""
    with redis.Redis.from_url(sys.argv[1]) as client:
        client.rpush("test:messages", message)


async def _answer(message: str) -> str:
    """The test's answer to a message. Cancellations come through meanwhile: the library's time limits may lose one."""
    async with redis.asyncio.Redis.from_url(sys.argv[1], socket_timeout=None) as client:
        await client.rpush("test:messages", message)
        _, answer = await client.blpop(["test:go"], 0)
        return str(answer.decode())


@tool
async def linger(ctx: Context) -> str:
    """Return the test's answer; when cancelled, try to report something all the same."""
    try:
        return await _answer(f"attempt {ctx.attempt}")
    except asyncio.CancelledError:
        await ctx.emit("too late")
        await asyncio.shield(_send(f"cancelled {ctx.attempt}"))
        raise


@tool(timeout=0.2, max_retries=0)
async def jam(seconds: float) -> None:
    """Block the event loop."""
    _send_at_once("jammed")
    time.sleep(seconds)


@tool(timeout=0.2)
async def hold(ctx: Context) -> None:
    """Hold on for longer than its timeout, and take its time to clean up."""
    try:
        _send_at_once(f"attempt {ctx.attempt}")
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        await asyncio.sleep(0.5)
        raise


@tool(max_retries=1)
async def poison() -> None:
    """Take the whole process down."""
    os.abort()


@tool
async def nap(seconds: float, ctx: Context) -> int:
    """Forget that the event loop must not be blocked; which attempt it was."""
    await _send(f"attempt {ctx.attempt}")
    time.sleep(seconds)
    return ctx.attempt
