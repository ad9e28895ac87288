"""Tools for the replicas of a supervisor."""

from __future__ import annotations

import asyncio
import os
import time

from taskserver import Context, tool


@tool
async def doze(seconds: float) -> None:
    """Sleep."""
    await asyncio.sleep(seconds)


@tool(max_retries=1)
async def leave(code: int, ctx: Context) -> int:
    """Exit the process on the first attempt; return the number of a later one."""
    if ctx.attempt == 1:
        os._exit(code)
    return ctx.attempt


@tool
async def block(ctx: Context) -> None:
    """Block the event loop."""
    ctx.progress(0.5, "blocking")
    try:
        await asyncio.sleep(0.1)  # so that the progress is sent
    finally:
        time.sleep(60)
