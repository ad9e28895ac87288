"""The fixtures work in a project of a user's own, with each plugin for async tests, and cost nothing where not used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import PATIENCE

TOOLS = """
from taskserver import Client, tool

@tool
async def double(number: int) -> int:
    return 2 * number

async def agent(number):
    async with Client() as client:
        return await (await client.submit(double, {"number": number})).result(timeout=60)
"""
TESTS = """
import pytest
from agent import agent, double
from taskserver import Inspector, SyncClient

@pytest.fixture
def anyio_backend():
    return "asyncio"

{mark}
@pytest.mark.parametrize("number", range(3))
async def test_an_agent(taskserver_worker, number):
    async with taskserver_worker(double) as client:
        job = await client.submit(double, {{"number": number}})
        assert await job.result(timeout=60) == await agent(number) == 2 * number
        async with Inspector() as inspector:
            assert len(await inspector.jobs()) == 2

def test_a_submit(taskserver_broker):
    with SyncClient() as client:
        client.submit("double", {{"number": 1}})
"""
LOOPS = ("-o", "asyncio_default_fixture_loop_scope=function")
MODES = {
    "strict": ("@pytest.mark.asyncio", (*LOOPS, "-o", "asyncio_mode=strict", "-p", "no:anyio")),
    "auto": ("", (*LOOPS, "-o", "asyncio_mode=auto")),
    "anyio": ("@pytest.mark.anyio", ("-p", "no:asyncio")),
    "xdist": ("", (*LOOPS, "-o", "asyncio_mode=auto", "-n", "2")),
}
"""How each marks its tests, and how pytest is called."""


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the tests in a folder, in an environment with a broker that does not answer."""
    env = {**os.environ, "TMPDIR": str(folder / "tmp"), "TASKSERVER_BROKER_URL": "redis://127.0.0.1:1"}
    env = {name: text for name, text in env.items() if not name.startswith(("PYTEST_", "COV_"))}
    (folder / "tmp").mkdir()
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "--rootdir", str(folder), *options]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=PATIENCE)


@pytest.mark.parametrize("mode", MODES)
def test_the_fixtures_work_with_every_plugin_for_async_tests(mode: str, tmp_path: Path) -> None:
    mark, options = MODES[mode]
    (tmp_path / "agent.py").write_text(TOOLS)
    (tmp_path / "test_agent.py").write_text(TESTS.format(mark=mark))
    done = run(tmp_path, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout
    assert list((tmp_path / "tmp").glob("taskserver-testing-*")) == []


def test_a_project_that_does_not_use_them_imports_nothing_of_it(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text(
        "import sys\ndef test_it():\n    loaded = {name for name in sys.modules if name.startswith('taskserver')}\n"
        "    assert loaded == {'taskserver', 'taskserver.version', 'taskserver.pytest_plugin'}\n"
    )
    done = run(tmp_path, *LOOPS)
    assert done.returncode == 0, done.stdout + done.stderr
