"""The demo's tools: ordinary tools, like yours; copy what you like.

Any worker that loads them can run them: ``taskserver worker --tools taskserver.demo.tools``.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from taskserver.tools import Context, tool

PAUSE = 0.1
"""Seconds that the tools with progress sleep after each file, as if it came over a slow network."""


class Count(msgspec.Struct, frozen=True):
    """The result of ``count_words``; results are typed at both ends."""

    lines: int
    words: int


class Match(msgspec.Struct, frozen=True):
    """The result of ``find_similar``: the most similar file, and its distance, 0 for equal files."""

    path: Path
    distance: float


@tool
async def count_words(path: Path) -> Count:
    """Count the lines and words of a text file."""
    text = await asyncio.to_thread(path.read_text, encoding="utf-8")
    return Count(lines=len(text.splitlines()), words=len(text.split()))


@tool
def hash_file(path: Path) -> str:
    """Compute the SHA-256 of a file. It is not ``async``, so the worker runs it in a thread."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@tool(timeout=60)
def find_similar(path: Path, others: list[Path]) -> Match:
    """Find the file most similar to this one: heavy work, during which the worker keeps renewing its leases."""
    data = head_of(path)
    return min((Match(other, distance(data, head_of(other))) for other in others), key=lambda each: each.distance)


@tool(timeout=60)
async def find_themes(paths: list[Path], *, ctx: Context) -> dict[str, str]:
    """Find the most frequent word of each file, and report file by file."""
    themes: dict[str, str] = {}
    for done, path in enumerate(paths, start=1):
        text = await asyncio.to_thread(path.read_text, encoding="utf-8")
        themes[str(path)] = theme_of(text)
        await ctx.emit(f"{path.name} is about {themes[str(path)]!r}")
        await ctx.progress(done / len(paths), f"read {path.name}")
        await asyncio.sleep(PAUSE)
    return themes


@tool(max_retries=3, retry_delay=0.5)
async def fetch(path: Path, *, ctx: Context) -> int:
    """Fetch a file from a server that is down for the first two attempts; return its size in bytes."""
    if ctx.attempt <= 2:
        raise ConnectionError(f"no answer to attempt {ctx.attempt}")
    return len(await asyncio.to_thread(path.read_bytes))


@tool(max_retries=2, retry_delay=0.2)
def load_settings(path: Path) -> dict[str, Any]:
    """Read a JSON file. If it does not exist, no retry helps, and the job becomes a dead letter."""
    settings: dict[str, Any] = json.loads(path.read_bytes())
    return settings


def theme_of(text: str) -> str:
    """The most frequent word of at least five letters; among equals, the first in the alphabet."""
    words = Counter(word for word in text.lower().split() if len(word) >= 5 and word.isalpha())
    return min(words, key=lambda word: (-words[word], word), default="nothing")


def head_of(path: Path) -> bytes:
    """The first 16 KiB of a file: two of them fit the window in which zlib finds repetitions."""
    with path.open("rb") as file:
        return file.read(16 * 1024)


def distance(one: bytes, other: bytes) -> float:
    """How little one text helps to compress the other, from about 0 to 1.

    It is the normalized compression distance of R. Cilibrasi and P. Vitanyi, "Clustering by Compression", 2005.
    """
    sizes = len(zlib.compress(one)), len(zlib.compress(other))
    return (len(zlib.compress(one + other)) - min(sizes)) / max(sizes)
