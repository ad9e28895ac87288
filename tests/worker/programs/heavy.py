"""Tools that run in processes of their own, and misbehave there in every way."""

import asyncio
import ctypes
import logging
import os
import resource
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taskserver import Context, PermanentError, tool


@dataclass
class Box:
    width: int
    tags: set[str]


@tool(runs_in="process")
def measure(box: Box, factor: float = 2.0) -> Box:
    assert isinstance(box, Box)
    return Box(round(box.width * factor), box.tags | {"measured"})


@tool(runs_in="process")
def who() -> int:
    return os.getpid()


@tool(runs_in="process")
async def sleeper(seconds: float) -> int:
    await asyncio.sleep(seconds)
    return threading.active_count()


_seen: set[str] = set()
_left: list[asyncio.Task[None]] = []


async def _go_on(name: str, refuses: bool) -> None:
    while True:
        _seen.add(name)
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            if not refuses:
                raise


@tool(runs_in="process", max_retries=0)
async def leaves_a_task(name: str, refuses: bool, fails: bool) -> list[str | int]:
    """Leave a task behind; return the process, and whose tasks ran beside this one."""
    _seen.clear()
    _left.append(asyncio.create_task(_go_on(name, refuses)))
    for _ in range(3):
        await asyncio.sleep(0)
    if fails:
        raise ValueError("it failed")
    return [os.getpid(), *sorted(_seen)]


@tool(runs_in="process")
class Counter:
    """Made once in each process."""

    def __init__(self) -> None:
        self.calls = 0

    def run(self) -> tuple[int, int]:
        self.calls += 1
        return os.getpid(), self.calls


@tool(runs_in="process")
def about(ctx: Context) -> dict[str, Any]:
    names = ("job_id", "queue", "attempt", "max_attempts", "idempotency_key", "session_id", "tags", "cancelled")
    return {name: getattr(ctx, name) for name in names}


@tool(runs_in="process")
def talk(password: str, ctx: Context) -> None:
    ctx.progress(0.5, "half")
    ctx.emit("piece")
    ctx.logger.warning("the password is %s", password)
    try:
        raise ValueError(password)
    except ValueError:
        logging.getLogger("taskserver.tool.mine").exception("it failed")


@tool(runs_in="process", max_retries=0)
def blurt(password: str, how: str) -> str:
    """Say much, with a secret where a text is cut."""
    text = password * 300 + "x" * 300_000 + password
    log = logging.getLogger("taskserver.tool.mine")
    match how:
        case "log":
            log.warning(text, extra={f"{text[:9_000]}{n}": text for n in range(200)})
            logging.getLogger(text * 9).warning("a logger with a long name")
            return "logged"
        case "name":
            raise type(f"Wrong{text * 9}", (Exception,), {})
        case _:
            raise ValueError(text * 9)


@tool(runs_in="process")
def chatter(pieces: int, ctx: Context) -> None:
    for number in range(pieces):
        ctx.emit(f"{number} " + "x" * 1000)


@tool(runs_in="process", max_retries=0, timeout=None)
def spin(file: str) -> None:
    """Ignore whatever can be ignored, start a program, write down who they are, and never end."""
    program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    path = Path(file)
    path.with_suffix(".new").write_text(f"{os.getpid()} {program.pid}")
    path.with_suffix(".new").rename(path)
    while True:
        try:
            while True:
                time.sleep(0.001)
        except BaseException:
            continue


@tool(runs_in="process", max_retries=0)
def crash(how: str) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if how == "segfault":
        ctypes.string_at(0)
    elif how == "exit":
        sys.exit(3)
    elif how == "hard exit":
        os._exit(3)
    elif how == "kill":
        os.kill(os.getpid(), 9)
    elif how == "nonsense":
        for descriptor in range(3, 1024):
            try:
                os.write(descriptor, b"\x00\x00\x00\x02no" * 10)
            except OSError:
                continue
        time.sleep(600)


@tool(runs_in="process", max_retries=0, max_memory="150MB")
def hoard() -> int:
    return len(bytearray(400_000_000))


@tool(runs_in="process", max_retries=0, max_memory="150MB")
def hoard_by_little(file: str) -> None:
    """Take what the kernel's limit does not count: pages of a file."""
    import mmap

    with open(file, "w+b") as opened:
        opened.truncate(400_000_000)
        with mmap.mmap(opened.fileno(), 0) as pages:
            for start in range(0, len(pages), 4096):
                pages[start] = 1
            time.sleep(600)


@tool(runs_in="process", max_retries=3)
def hopeless(file: str) -> None:
    with open(file, "a") as opened:
        opened.write("tried\n")
    raise PermanentError("it is so")


@tool(runs_in="process", retry_delay=0.01)
async def hopeless_group(ctx: Context) -> None:
    raise ExceptionGroup("unhandled errors", [PermanentError("it is so"), PermanentError("it is so")])


@tool(runs_in="process", max_retries=1, retry_delay=0.01)
def unlucky(ctx: Context) -> int:
    if ctx.attempt == 1:
        raise KeyError("once")
    return ctx.attempt


@tool(runs_in="process")
def echo(data: bytes) -> bytes:
    return data


@tool(runs_in="process", max_retries=0)
def too_large() -> bytes:
    return b"x" * (5 * 1024 * 1024)


@tool(runs_in="process")
def meet(folder: str, name: str) -> int:
    """Keep a core busy until the other one is there too."""
    (Path(folder) / name).touch()
    while len(list(Path(folder).iterdir())) < 2:
        continue
    return os.getpid()


@tool(runs_in="process", timeout=None)
def grip(ctx: Context) -> None:
    """Hold the interpreter lock for ever: the C loop of ``sum`` lets no other thread of its process run."""
    ctx.progress(0.5, "holding")
    sum(range(10**14))


@tool
async def light() -> str:
    return "light"
