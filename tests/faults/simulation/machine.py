"""All rules together, and what must be possible at the end of every example."""

from __future__ import annotations

import sys

from hypothesis.stateful import initialize

from taskserver.domain.job import State
from taskserver.domain.lanes import LANES
from taskserver.store.jobs import admin
from tests.faults.simulation.base import JOBS
from tests.faults.simulation.tampering import Tampering
from tests.store.harness import QUEUE, succeed

LIVE = tuple(state for state in State if not state.ended)


class Simulation(Tampering):
    """Everything that can happen to a queue."""

    @initialize()
    def begin_with_work(self) -> None:
        for lane in LANES:
            self.submit(0, lane, delayed=False)
        self.claim("w1", 2)

    def teardown(self) -> None:
        """I1 and I4: workers that are alive bring everything to its end, and nothing is left over."""
        try:
            if sys.exc_info()[0] is None:  # else an example has failed already, and that is what is to be told
                self._drain()
        finally:
            self.close()

    def _drain(self) -> None:
        self.audit("w1", thorough=True)
        self.run(admin.resume(self.queue.broker, QUEUE))
        self.model.paused = False
        self.call("cancel", self.queue.cancel(*(job.key for job in self.model.in_state(State.DELAYED, State.WAITING))))
        if left := self.snapshot().delayed:  # names that no job has; their time comes
            self.run(self.queue.redis.zadd(self.queue.keys.delayed, dict.fromkeys(left, 1)))
            self.call("promote", self.queue.promote())
        for _ in range(10):
            if not self.model.in_state(*LIVE) and not self.snapshot().left():
                break
            if self.model.disturbed:
                self.audit("w1", thorough=True)
            self.stop_heartbeats("")
            self.reclaim()
            self.claim("w1", 50)
            for attempt in [job.attempt for job in self.model.jobs.values() if job.attempt]:
                assert self.call("finish", self.queue.settle(succeed(attempt.job))) == []
        assert [(job.key, job.state) for job in self.model.in_state(None, *LIVE)] == []
        self.audit("w1", thorough=True)
        assert self.snapshot().left() == {}
        assert len(self.model.jobs) <= JOBS
