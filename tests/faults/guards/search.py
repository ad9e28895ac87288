"""``make guards``: run the whole simulation against each mutant, and tell which guards it misses by itself.

The ordinary tests need not wait for this: there, each guard has one directed test. Here is shown how much of the table
random steps find. Arguments choose guards whose id contains one of them.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.errors import HypothesisWarning
from hypothesis.stateful import run_state_machine_as_test

from taskserver.embedded import find_binary
from tests.brokers import Server
from tests.faults.guards.guard import take_out
from tests.faults.guards.table import GUARDS
from tests.faults.simulation.machine import Simulation

EXAMPLES = int(os.environ.get("TASKSERVER_SIMULATION", "100"))


def search(number: int | None) -> tuple[str, float]:
    """How the simulation fails without this guard ('' if it does not), and seconds until then; None: with all."""
    server = Server(str(find_binary())).start()
    begun = time.monotonic()
    try:
        with pytest.MonkeyPatch.context() as patch:
            if number is not None:
                take_out(patch, GUARDS[number])
            return simulate(server.url), time.monotonic() - begun
    finally:
        server.close()


def simulate(url: str) -> str:
    machine = type("Here", (Simulation,), {"url": url})
    profile = settings(
        max_examples=EXAMPLES,
        stateful_step_count=50,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", HypothesisWarning)
            run_state_machine_as_test(machine, settings=profile)
    except BaseException as error:  # whatever it is, the simulation has missed the guard
        return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    return ""


def chosen() -> Iterator[int]:
    words = sys.argv[1:] or [""]
    return (number for number, guard in enumerate(GUARDS) if any(word in guard.id for word in words))


def main() -> None:
    numbers = list(chosen())
    found = 0
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        how, _ = pool.submit(search, None).result()
        if how:
            sys.exit(f"The simulation fails with all guards in place: {how}")
        for number, (how, seconds) in zip(numbers, pool.map(search, numbers), strict=True):
            found += bool(how)
            print(f"{GUARDS[number].id:45} {seconds:6.1f} s  {how[:120] or 'NOT FOUND'}", flush=True)
    print(f"The simulation finds {found} of {len(numbers)} by itself.")


if __name__ == "__main__":
    main()
