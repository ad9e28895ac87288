"""The run itself: every round takes each scenario through all systems, so that a slow minute touches them alike."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.peers import limits, record
from benchmarks.peers.environments import Environment, prepare
from benchmarks.peers.processes import MeasurementFailed, NotSupported
from benchmarks.peers.record import Run
from benchmarks.peers.scenarios import Pace, Scenario, pace_of, scenarios
from benchmarks.peers.stage import Stage
from benchmarks.peers.systems import System
from benchmarks.server import Server
from taskserver.errors import BrokerError

FAILURES = (TimeoutError, MeasurementFailed, BrokerError, psutil.Error)

WINDOW, QUICK = 0.7, 0.4
"""Seconds that one measurement of a rate should take, and in a quick run."""

PACE_LIMIT = 60
"""Seconds in which a system must show that it works at all."""


class Plan(NamedTuple):
    """What is to be measured.

    Attributes:
        systems: Which, in the order of the tables.
        rounds: How often.
        server: Path of the server binary.
        python: The interpreter for all systems in Python.
        only: Parts of scenarios' names; empty for all.
        quick: Shorter measurements, fewer jobs: to see that everything works.
        path: Where results are written after every round.
        say: Shows progress.
    """

    systems: list[System]
    rounds: int
    server: str
    python: str
    only: tuple[str, ...]
    quick: bool
    path: Path
    say: Callable[[str], object]


class Runner:
    """Carries out a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._stages: dict[str, Stage] = {}
        self._paces: dict[str, Pace] = {}
        self._hopeless: set[tuple[str, str]] = set()
        wanted = [
            each for each in scenarios(quick=plan.quick) if not plan.only or any(o in each.name for o in plan.only)
        ]
        self._scenarios: list[Scenario] = wanted

    async def run(self) -> Run:
        """Install, find everyone's pace, measure in rounds; results so far are on disk all the time."""
        started = time.monotonic()
        environments = await self._install()
        async with Server(self._plan.server, tcp=True) as server:
            run = record.begin(await server.product(), self._plan.rounds, quick=self._plan.quick)
            self._describe(run, environments)
            try:
                await self._warm_up(run, server, environments)
                for number in range(self._plan.rounds):
                    await self._round(run, server, number)
                    run["load"].append(os.getloadavg()[0])
                    run["seconds"] = round(time.monotonic() - started)
                    record.save(run, self._plan.path)
            finally:
                for stage in self._stages.values():
                    await stage.close()
        return run

    async def _install(self) -> dict[str, Environment]:
        environments = {}
        for system in self._plan.systems:
            self._plan.say(f"installing {system.name}")
            environments[system.name] = await asyncio.to_thread(prepare, system, self._plan.python)
        return environments

    def _describe(self, run: Run, environments: dict[str, Environment]) -> None:
        for system in self._plan.systems:
            environment = environments[system.name]
            run["systems"][system.name] = {
                "version": environment.version,
                "runtime": environment.runtime,
                "problem": environment.problem,
                "floor": system.floor,
            }

    async def _warm_up(self, run: Run, server: Server, environments: dict[str, Environment]) -> None:
        """A system that cannot run at all stays in the tables with what went wrong."""
        for system in self._plan.systems:
            if environments[system.name].problem:
                continue
            self._plan.say(f"finding the pace of {system.name}")
            stage = self._stages[system.name] = Stage(server, system, environments[system.name])
            try:
                async with asyncio.timeout(PACE_LIMIT):
                    self._paces[system.name] = await pace_of(stage, QUICK if self._plan.quick else WINDOW)
            except FAILURES as error:
                run["systems"][system.name]["problem"] = f"does not work here: {str(error) or 'timed out'}"
                await stage.close()

    async def _round(self, run: Run, server: Server, number: int) -> None:
        turn = number % max(1, len(self._plan.systems))
        order = self._plan.systems[turn:] + self._plan.systems[:turn]
        for scenario in self._scenarios:
            if number >= scenario.rounds:
                continue
            for system in order:
                if system.name in self._paces and (scenario.on_floor or not system.floor):
                    self._plan.say(f"round {number + 1} of {self._plan.rounds}: {scenario.name}: {system.name}")
                    await self._measure(run, scenario, system)
            await self._measure_limit(run, server, scenario)

    async def _measure(self, run: Run, scenario: Scenario, system: System) -> None:
        if (system.name, scenario.name) in self._hopeless:
            return
        stage = self._stages[system.name]
        stage.jobs = 0
        started = time.monotonic()
        try:
            async with asyncio.timeout(scenario.limit):
                record.add(run, system.name, scenario.name, await scenario.measure(stage, self._paces[system.name]))
        except NotSupported as missing:
            self._give_up(run, scenario, system, str(missing))
        except TimeoutError:
            done = f": {stage.runs:,} of {stage.jobs:,} jobs" if stage.jobs else ""
            self._give_up(run, scenario, system, f"timed out after {scenario.limit:.0f} s{done}")
            await stage.close()
        except FAILURES as error:
            record.fail(run, system.name, scenario.name, f"failed: {error}")
            await stage.close()
        record.took(run, system.name, scenario.name, time.monotonic() - started)

    def _give_up(self, run: Run, scenario: Scenario, system: System, problem: str) -> None:
        """What cannot be, or takes too long, is not tried again in later rounds."""
        record.fail(run, system.name, scenario.name, problem)
        self._hopeless.add((system.name, scenario.name))

    async def _measure_limit(self, run: Run, server: Server, scenario: Scenario) -> None:
        program = limits.find(self._plan.server)
        if program is None or scenario.name not in limits.PIPELINES:
            return
        run["systems"].setdefault(limits.NAME, {"version": "", "runtime": "", "problem": "", "floor": True})
        record.add(run, limits.NAME, scenario.name, await limits.measure(program, server, scenario.name))
