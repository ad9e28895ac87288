"""A short soak on Valkey and Redis: workers, producers and brokers are killed, and every promise is kept.

The long one is ``make soak``; docs/soak.md tells how to read its report, and how to play a plan again.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SEED = 1147
MINUTES = 1.0


@pytest.mark.timeout(400)
def test_every_promise_is_kept_through_a_minute_of_faults(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    command = [sys.executable, "-m", "tests.faults.soak", "--minutes", str(MINUTES), "--seed", str(SEED)]
    done = subprocess.run(
        [*command, "--keep", str(tmp_path / "soak"), "--json", str(figures)],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for report in json.loads(figures.read_text()):
        assert report["acknowledged"] > 100
        assert report["faults"]["kill worker"] >= 1
        assert report["broker_restarts"] >= 1
        assert report["lost"] == report["ended_twice"] == 0
