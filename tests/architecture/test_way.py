"""ARCHITECTURE shows the way of a job as it is: one is followed from its submit to its result, file by file."""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from taskserver import Client, tool
from taskserver.testing import running_worker
from tests.architecture.package import ROOT

ARCHITECTURE = ROOT.parent / "ARCHITECTURE.md"
JOBS = 20
"""A file is on the way if more than half of the jobs enter it: now and then a service does something besides."""
MOST_FILES = 25


@tool
async def add(a: int, b: int) -> int:
    return a + b


class Follower:
    """A profile function that notes which files of the package are entered."""

    def __init__(self) -> None:
        self.entered: set[str] = set()

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(ROOT):
            self.entered.add(str(path.relative_to(ROOT)))


async def files_of_a_job(client: Client) -> set[str]:
    follower = Follower()
    before: Any = sys.getprofile()
    sys.setprofile(follower)
    try:
        assert await (await client.submit(add, {"a": 1, "b": 2})).result() == 3
    finally:
        sys.setprofile(before)
    return follower.entered


async def way_of_a_job(url: str) -> set[str]:
    async with running_worker(add, url=url), Client(url) as client:
        await files_of_a_job(client)  # the first one connects and asks for partitions
        counts = Counter([name for _ in range(JOBS) for name in await files_of_a_job(client)])
    return {name for name, count in counts.items() if count > JOBS / 2}


def way_in_the_document() -> list[str]:
    text = ARCHITECTURE.read_text("utf-8")
    section = text[text.index("## The way of a job") : text.index("1. **Submit.**")]
    return re.findall(r"`([\w/]+/\w+\.py)`[,\s]", section[section.index("|---") :])


async def test_the_way_of_a_job_is_as_architecture_shows_it(one_broker_url: str) -> None:
    assert await way_of_a_job(one_broker_url) == set(way_in_the_document())


def test_the_way_of_a_job_is_short_and_enters_each_file_once() -> None:
    files = way_in_the_document()
    assert len(set(files)) == len(files) <= MOST_FILES


def test_the_document_counts_the_files_of_its_table() -> None:
    count = re.search(r"enters (\d+) Python files", ARCHITECTURE.read_text("utf-8"))
    assert count
    assert int(count[1]) == len(way_in_the_document())
