"""What the server can do at most: redis-benchmark adds stream entries with nothing around it."""

from __future__ import annotations

import asyncio
import csv
import shutil
from pathlib import Path

from benchmarks.peers.stage import Figures
from benchmarks.server import Server

NAME = "redis-benchmark"
PIPELINES = {"submit one by one": 1, "submit batched": 100}
"""Commands on their way at a time, by the scenario that they are the limit of."""


def find(server_binary: str) -> str | None:
    """The program: beside the server, or on PATH."""
    beside = [Path(server_binary).with_name(name) for name in ("valkey-benchmark", "redis-benchmark")]
    return next((str(path) for path in beside if path.exists()), shutil.which(NAME))


async def measure(program: str, server: Server, scenario: str) -> Figures:
    """XADDs a second over one connection, and milliseconds that one takes."""
    await server.empty()
    pipeline = PIPELINES[scenario]
    process = await asyncio.create_subprocess_exec(
        *(program, "-p", str(server.port), "-c", "1", "-P", str(pipeline), "-n", str(10_000 * min(pipeline, 20))),
        *("--csv", "XADD", "bench", "*", "job", "0123456789abcdefghijklmn"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    output, _ = await process.communicate()
    row = list(csv.reader(output.decode().splitlines()))[-1]
    return {"rate": float(row[1]), "p50": float(row[4])}
