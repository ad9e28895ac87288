"""The tools that the workers of compose.yaml run: put your own in their place."""

import asyncio

from taskserver import Context, tool


@tool
async def count_words(text: str) -> int:
    """How many words a text has."""
    return len(text.split())


@tool
async def countdown(seconds: int, *, ctx: Context) -> str:
    """Count seconds down, as a job that takes a while.

    Args:
        seconds: How many.
        ctx: Where it tells how far it is.
    """
    for left in range(seconds, 0, -1):
        await ctx.progress((seconds - left) / seconds, f"{left} s left")
        await asyncio.sleep(1)
    return f"attempt {ctx.attempt} counted {seconds} s down"
