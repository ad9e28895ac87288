"""The tools that the workers of compose.yaml run. Replace them with your own."""

import asyncio

from taskserver import Context, tool


@tool
async def count_words(text: str) -> int:
    """Count the words of a text."""
    return len(text.split())


@tool
async def countdown(seconds: int, *, ctx: Context) -> str:
    """Count down, as an example of a job that takes a while.

    Args:
        seconds: Number of seconds.
        ctx: Reports the progress.
    """
    for left in range(seconds, 0, -1):
        await ctx.progress((seconds - left) / seconds, f"{left} s left")
        await asyncio.sleep(1)
    return f"attempt {ctx.attempt} counted down {seconds} s"
