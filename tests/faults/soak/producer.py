"""``python -m tests.faults.soak.producer NAME SEED RATE``: submit, cancel and await jobs until SIGTERM.

Then it awaits what it has not heard of yet. What is acknowledged goes into the ledger only after the submit has
returned: a producer that is killed in between has promised nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import sys
from collections.abc import Coroutine, Sequence
from typing import Any, NamedTuple

from taskserver import BrokerError, Client, Job, JobCancelled, JobExpired, JobFailed, TaskServerError
from taskserver.domain.ids import job_id, key_for
from tests.faults.soak.ledger import Ledger

KINDS = {"quick": 50, "slow": 15, "talk": 12, "thread": 10, "flaky": 8, "broken": 3, "leaves": 2}
"""Tools and how often each is called."""
NASTY = ("poison", "hog", "block", "grip", "stubborn")
"""What harms the worker it runs on; called now and then by the first producer."""
NASTY_SECONDS = 2.0
"""Between the end of one and the next."""
LARGE_BYTES = 4_000_000
LARGE_SECONDS = 20.0
"""How often the first producer submits a large message, after the one before; over a slow link, it takes 16 s."""
AWAITED_AT_ONCE = 500


class Call(NamedTuple):
    """One job that is to be submitted."""

    token: str
    kind: str
    args: dict[str, Any]


class Producer:
    """Submits jobs at random, as its seed says; with a name that ends in ``.0``, nasty ones too.

    Args:
        client: Through which.
        ledger: Where it writes what it was promised.
        name: Begins the token of each job.
        seed: Decides what is submitted.
        secret: Is part of each job's arguments.
    """

    def __init__(self, client: Client, ledger: Ledger, name: str, seed: str, secret: str) -> None:
        self._client = client
        self._ledger = ledger
        self._name = name
        self._random = random.Random(seed)
        self._secret = secret
        self._numbers = itertools.count()
        self._nasty = itertools.cycle(self._random.sample(NASTY, len(NASTY)))
        self._tasks: set[asyncio.Task[None]] = set()

    async def produce(self, rate: float, stop: asyncio.Event) -> None:
        """Submit ``rate`` jobs a second until ``stop`` is set, then await what is still awaited."""
        works = (self._be_nasty(), self._be_large()) if self._name.endswith(".0") else ()
        beside = [asyncio.create_task(work) for work in works]
        while not stop.is_set():
            count = await self._submit_some()
            try:
                await asyncio.wait_for(stop.wait(), self._random.expovariate(rate / count))
            except TimeoutError:
                continue
        for work in beside:
            work.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _be_nasty(self) -> None:
        """One after the other: on a busy machine, a heap of them would kill each worker that has just started."""
        for kind in self._nasty:
            await self._one_to_its_end(self._call(kind))
            await asyncio.sleep(NASTY_SECONDS)

    async def _be_large(self) -> None:
        while True:
            call = self._call("large")
            call.args["blob"] = "x" * LARGE_BYTES
            await self._one_to_its_end(call)
            await asyncio.sleep(LARGE_SECONDS)

    async def _one_to_its_end(self, call: Call) -> None:
        job = await self._one(call, {})
        if job is not None:
            await self._await(job)

    async def _submit_some(self) -> int:
        """One, some at once, or a batch; how many that were."""
        shape = self._random.random()
        count = 1 if shape < 0.6 else self._random.randint(2, 20)
        calls = [self._call(self._random.choices(list(KINDS), list(KINDS.values()))[0]) for _ in range(count)]
        if shape < 0.85:
            await asyncio.gather(*(self._one(call, self._options()) for call in calls))
        else:
            await self._batch(calls, self._options())
        return count

    def _call(self, kind: str) -> Call:
        token = f"{self._name}-{next(self._numbers)}"
        args: dict[str, Any] = {"label": f"{token}/{self._secret}"}
        if kind in ("slow", "thread"):
            args["seconds"] = self._random.choice([0.05, 0.2, 0.6])
        return Call(token, kind, args)

    def _options(self) -> dict[str, Any]:
        dice, options = self._random, dict[str, Any]()
        if dice.random() < 0.15:
            options["priority"] = dice.randint(1, 10)
        if dice.random() < 0.1:
            options["delay"] = dice.uniform(0.05, 3)
        if dice.random() < 0.05:
            options["expires"] = dice.uniform(0.05, 4)
        if dice.random() < 0.1:
            options["max_retries"] = dice.randint(0, 5)
        if dice.random() < 0.4:
            options["idempotency_key"] = f"{self._name}-{next(self._numbers)}"
        return options

    async def _one(self, call: Call, options: dict[str, Any]) -> Job[Any] | None:
        """Submit it; with a key, until that succeeds."""
        options["session_id"] = call.token  # it is found by that also when its message was not kept
        key = options.get("idempotency_key")
        job = None
        while job is None:
            try:
                job = await self._client.submit(call.kind, call.args, **options)
            except TaskServerError as error:
                known = job_id("default", key_for(key)) if key else None
                self._ledger.write("unknown", token=call.token, job=known, error=type(error).__name__)
                if not key:
                    return None
                await asyncio.sleep(self._random.uniform(0.1, 1))
        self._acknowledged(call, job, options)
        if key and self._random.random() < 0.1:
            options["idempotency_key"] = key
            self._later(self._again(call, options, job.id))
        return job

    async def _again(self, call: Call, options: dict[str, Any], known: str) -> None:
        """Submit what was acknowledged once more, with its key: there is one job."""
        try:
            job = await self._client.submit(call.kind, call.args, **options)
        except BrokerError:
            return
        assert job.id == known

    async def _batch(self, calls: Sequence[Call], options: dict[str, Any]) -> None:
        key = options.get("idempotency_key")
        while True:
            try:
                jobs = await self._client.submit_many([(call.kind, call.args) for call in calls], **options)
            except TaskServerError as error:
                for position, call in enumerate(calls):
                    known = job_id("default", key_for(f"{key}/{position}")) if key else None
                    self._ledger.write("unknown", token=call.token, job=known, error=type(error).__name__)
                if not key:
                    return
                await asyncio.sleep(self._random.uniform(0.1, 1))
            else:
                for call, job in zip(calls, jobs, strict=True):
                    self._acknowledged(call, job, options)
                return

    def _acknowledged(self, call: Call, job: Job[Any], options: dict[str, Any]) -> None:
        may = ["expired"] if "expires" in options else []
        self._ledger.write("ack", job=job.id, token=call.token, kind=call.kind, may=may)
        if self._random.random() < 0.03:
            self._later(self._cancel(job))
        if call.kind == "talk" and self._random.random() < 0.3:
            self._later(self._follow(job))
        if len(self._tasks) < AWAITED_AT_ONCE and self._random.random() < 0.6:
            self._later(self._await(job))

    async def _cancel(self, job: Job[Any]) -> None:
        await asyncio.sleep(self._random.uniform(0, 1))
        self._ledger.write("cancel", job=job.id)
        try:
            await job.cancel()
        except TaskServerError as error:
            print(f"cancel {job.id}: {error}", file=sys.stderr)

    async def _await(self, job: Job[Any]) -> None:
        self._ledger.write("result", job=job.id, end=await end_of(job))
        if self._random.random() < 0.2:
            await asyncio.sleep(self._random.uniform(0, 5))
            self._ledger.write("result", job=job.id, end=await end_of(job))

    async def _follow(self, job: Job[Any]) -> None:
        """Follow what the job says; after an error, from where we were."""
        heard: list[str] = []
        cursor = "0"
        while True:
            try:
                async for event in job.events(cursor):
                    cursor = event.cursor
                    if event.kind == "output":
                        heard.append(event.text)
            except BrokerError:
                await asyncio.sleep(0.5)
            except TaskServerError as error:
                print(f"events of {job.id}: {error}", file=sys.stderr)
                return
            else:
                self._ledger.write("heard", job=job.id, texts=heard)
                return

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def end_of(job: Job[Any]) -> str:
    """How a job ended, as whoever awaits it sees it."""
    while True:
        try:
            result = await job.result()
        except JobFailed as failed:
            return f"failed: {failed.error_type}: {failed.error_message}"
        except JobCancelled:
            return "cancelled"
        except JobExpired:
            return "expired"
        except BrokerError:
            await asyncio.sleep(0.5)
        except TaskServerError as error:
            return f"{type(error).__name__}"
        else:
            return f"succeeded: {result['run']}"


async def main(name: str, seed: str, rate: float) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    ledger = Ledger(os.environ["SOAK_LEDGER"])
    async with Client() as client:
        await Producer(client, ledger, name, seed, os.environ["SOAK_SECRET"]).produce(rate, stop)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
