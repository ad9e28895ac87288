"""ARCHITECTURE shows the way of a job as it is: one is followed from its submit to its result, file by file."""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from taskserver import Client, tool
from taskserver.testing import running_worker
from tests.architecture.package import ROOT

ARCHITECTURE = ROOT.parent / "ARCHITECTURE.md"
JOBS = 20
"""A file is on the way if more than half of the jobs enter it: now and then a service does something besides."""
MOST_THROUGH = 25
"""Files that may call other files."""
MOST_FILES = 34
"""All files that a job may enter; those that only answer are among them."""


@tool
async def add(a: int, b: int) -> int:
    return a + b


class Way(NamedTuple):
    """Files below the package: those that call another one, and those that only answer."""

    through: set[str]
    beside: set[str]


class Follower:
    """A profile function that notes which files are entered, and which of them call another one."""

    def __init__(self) -> None:
        self.entered: set[str] = set()
        self.calling: set[str] = set()

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        name = name_of(frame) if event == "call" else None
        if name is None:
            return
        self.entered.add(name)
        caller = frame.f_back and name_of(frame.f_back)
        if caller and caller != name:
            self.calling.add(caller)


def name_of(frame: FrameType) -> str | None:
    path = Path(frame.f_code.co_filename)
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else None


async def follow(client: Client) -> Follower:
    follower = Follower()
    before: Any = sys.getprofile()
    sys.setprofile(follower)
    try:
        assert await (await client.submit(add, {"a": 1, "b": 2})).result() == 3
    finally:
        sys.setprofile(before)
    return follower


async def way_of_a_job(url: str) -> Way:
    async with running_worker(add, url=url), Client(url) as client:
        await follow(client)  # the first one connects and asks for partitions
        followers = [await follow(client) for _ in range(JOBS)]
    entered = usual(follower.entered for follower in followers)
    through = usual(follower.calling & entered for follower in followers)
    return Way(through, entered - through)


def usual(found: Any) -> set[str]:
    counts = Counter(name for names in found for name in names)
    return {name for name, count in counts.items() if count > JOBS / 2}


def way_in_the_document() -> Way:
    """The third and fourth column of the table; no file is in it twice."""
    text = ARCHITECTURE.read_text("utf-8")
    section = text[text.index("## The way of a job") : text.index("## Ids")]
    rows = [line.split("|") for line in section.splitlines() if line.startswith("| ")]
    through, beside = (
        [name for row in rows for name in re.findall(r"`([\w/]+\.py)`", row[column])] for column in (3, 4)
    )
    assert len(set(through + beside)) == len(through + beside)
    return Way(set(through), set(beside))


async def test_the_way_of_a_job_is_as_architecture_shows_it(one_broker_url: str) -> None:
    traced, shown = await way_of_a_job(one_broker_url), way_in_the_document()
    assert (traced.through ^ shown.through, traced.beside ^ shown.beside) == (set(), set())


def test_the_way_of_a_job_is_short() -> None:
    through, beside = way_in_the_document()
    assert len(through) <= MOST_THROUGH
    assert len(through | beside) <= MOST_FILES


def test_the_document_counts_the_files_as_its_table_does() -> None:
    through, beside = way_in_the_document()
    text = ARCHITECTURE.read_text("utf-8")
    counts = re.search(r"enters (\d+) Python files .*?\*through\* (\d+) .*?\*with\* (\d+) ", text, re.DOTALL)
    assert counts
    assert [int(count) for count in counts.groups()] == [len(through | beside), len(through), len(beside)]
