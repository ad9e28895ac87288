"""Every example is a complete program: run as a reader would, on the embedded broker, it ends by itself and says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import PATIENCE

EXAMPLES = Path(__file__).parents[2] / "examples"

OUTPUT = {
    "first_program.py": ["An agent submits"],
    "progress.py": ["Lagos is nice.", "50%", "100%", "Lyon is nice."],
    "retries.py": ["done at attempt 3", "dead: the service is down", "the service is up", "failed: there is no page 0"],
    "own_message.py": ["sent: 3 pages to ada@example.org"],
    "cpu_bound.py": [
        "5133 primes, counted by others: True",
        "TimeoutError: the attempt took longer",
    ],
    "inspector.py": [
        "2 dead of call_service: ConnectionError",
        "2 queued again, 0 dead, paused: True",
        "['hello Ada', 'hello Grace']",
    ],
    "shared_resources.py": ["opened\npaid: 250\nclosed"],
    "fan_out.py": ["the sum of all: 2664667000"],
    "idempotent_effects.py": ["1 job for 3 submits", "paid 250 cents in 1 payment"],
    "signed.py": [
        "the lab is open",
        "shown: {'door': 'the lab', 'code': '[secret]'}",
        "ValueError: [secret] does not open the lab",
        "SignatureInvalid: the message is not signed",
    ],
}
WITH_PYTEST = {"tested_tools.py": "3 passed"}
WITH_A_WORKER = {"sync_client.py": ["HELLO", "succeeded"]}


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "TASKSERVER_HOME": str(home / "home"), "PYTHONPATH": str(EXAMPLES.parent)}


def test_every_example_is_run() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {*OUTPUT, *WITH_PYTEST, *WITH_A_WORKER}


@pytest.mark.parametrize("name", OUTPUT)
def test_an_example_runs_by_itself(name: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, EXAMPLES / name], env=environment(tmp_path), capture_output=True, text=True, timeout=PATIENCE
    )
    assert ended.returncode == 0, ended.stderr
    for line in OUTPUT[name]:
        assert line in ended.stdout


@pytest.mark.parametrize("name", WITH_PYTEST)
def test_an_example_of_tests_passes(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", EXAMPLES / name]
    ended = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, timeout=PATIENCE)
    assert WITH_PYTEST[name] in ended.stdout, ended


@pytest.mark.parametrize("name", WITH_A_WORKER)
def test_an_example_runs_with_a_worker_process(name: str, tmp_path: Path) -> None:
    module = f"examples.{name.removesuffix('.py')}"
    env = environment(tmp_path)
    worker = subprocess.Popen([sys.executable, "-m", "taskserver", "worker", "--tools", module, "-l", "error"], env=env)
    try:
        ended = subprocess.run(
            [sys.executable, EXAMPLES / name], env=env, capture_output=True, text=True, timeout=PATIENCE, check=True
        )
    finally:
        worker.terminate()
        assert worker.wait(timeout=PATIENCE) == 0
    for line in WITH_A_WORKER[name]:
        assert line in ended.stdout
