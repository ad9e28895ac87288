"""Everything that can happen to jobs, in any order, on a real server, against a model of what may.

Workers claim, renew, report, settle and die; zombies write with old fences; answers are lost and calls repeated;
somebody deletes, overwrites, forges and restores. After every step the model and the broker must agree on every job,
and at the end every job must still be able to end. ``TASKSERVER_SIMULATION=2000`` runs so many examples.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from taskserver.domain.job import TRANSITIONS
from tests.faults import simulation
from tests.faults.simulation.machine import Simulation
from tests.faults.simulation.workers import HOW

EXAMPLES = int(os.environ.get("TASKSERVER_SIMULATION", "40"))
STEPS = 50


@pytest.mark.timeout(60 + 3 * EXAMPLES)
@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")
def test_whatever_happens_in_whatever_order(broker_url: str) -> None:
    machine = type("Simulation", (Simulation,), {"url": broker_url})
    profile = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        derandomize=EXAMPLES <= 50,
        print_blob=True,
        database=None,
        phases=(Phase.generate,),  # steps to the first failure are few enough; shrinking takes minutes
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=profile)


def test_some_rule_calls_the_script_of_every_transition() -> None:
    """By what the rules say of themselves: which ones a run comes to is chance."""
    called = {script for script, _, _ in HOW.values()}
    for path in Path(simulation.__file__).parent.glob("*.py"):
        called |= set(re.findall(r"self\.(?:call|compare)\(\s*\"(\w+)\"", path.read_text("utf-8")))
    assert set(TRANSITIONS) <= called
