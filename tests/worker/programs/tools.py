"""Tools that tell the test what they do through a list of the broker, and wait at another for the test's word."""

import asyncio
import os
import sys
import time

import redis.asyncio

from taskserver import Context, tool


async def _say(word: str) -> None:
    async with redis.asyncio.Redis.from_url(sys.argv[1]) as client:
        await client.rpush("test:said", word)


async def _answer(word: str) -> str:
    """What the test says to this. A cancellation comes through meanwhile: the library's time limits may lose one."""
    async with redis.asyncio.Redis.from_url(sys.argv[1], socket_timeout=None) as client:
        await client.rpush("test:said", word)
        _, answer = await client.blpop(["test:go"], 0)
        return str(answer.decode())


@tool
async def linger(ctx: Context) -> str:
    """Return the test's word; when cancelled, try to say something all the same."""
    try:
        return await _answer(f"attempt {ctx.attempt}")
    except asyncio.CancelledError:
        await ctx.emit("too late")
        await asyncio.shield(_say(f"cancelled {ctx.attempt}"))
        raise


@tool(timeout=0.2, max_retries=0)
async def jam(seconds: float) -> None:
    """Block the event loop."""
    await _say("jammed")
    time.sleep(seconds)


@tool(timeout=0.2)
async def hold(ctx: Context) -> None:
    """Hold on for longer than its timeout, and take its time to clean up."""
    try:
        await _say(f"attempt {ctx.attempt}")
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
    await _say(f"attempt {ctx.attempt}")
    time.sleep(seconds)
    return ctx.attempt
