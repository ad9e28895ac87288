"""The systems under measurement: versions, where their adapters are, and how they are set up."""

from __future__ import annotations

from typing import NamedTuple

UVLOOP = "uvloop==0.23.0"
HIREDIS = "hiredis==3.5.0"


class System(NamedTuple):
    """One system.

    Attributes:
        name: How tables call it.
        packages: What is installed for it, at pinned versions; the first is the system itself. Empty: this checkout.
        unfinished: Commands whose numbers add up to the jobs that the broker holds as waiting or running.
        setup: How it is set up and why, for the documentation.
        processes: Whether it runs CPU-bound jobs in processes: yes, or why not.
        node: Whether its packages are npm's.
        floor: Not a system, but what there is to gain: only some scenarios make sense.
    """

    name: str
    packages: tuple[str, ...]
    unfinished: tuple[str, ...]
    setup: str
    processes: str = "no process execution"
    node: bool = False
    floor: bool = False

    @property
    def adapter(self) -> str:
        """The adapter's module, or file for Node."""
        name = {"taskserver": "ours"}.get(self.name, self.name)
        return f"{name}.mjs" if self.node else f"benchmarks.peers.adapters.{name}"


_LANES = tuple(f"XLEN ts:{{bench}}:lane:{lane}" for lane in ("returned", "high", "normal", "low"))

OURS = System(
    "taskserver",
    (),
    _LANES,
    "submits by function, so that arguments are checked; `submit_many` for batches; uvloop; results kept for a day, "
    'the default. A plain function runs in a thread, or with `runs_in="process"` in the worker\'s pool of processes.',
    processes="yes",
)

SYSTEMS = (
    OURS,
    System(
        "ardiq",
        ("ardiq==1.2.0", UVLOOP),
        ("XLEN ardiq:bench:queues:default",),
        "Rust core. `enqueue_many` for batches, prefetch twice the concurrency (its default), uvloop; "
        '`executor="process"` for CPU-bound functions.',
        processes="yes",
    ),
    System(
        "bullmq",
        ("bullmq@6.7.0", "ioredis@5.9.2"),
        ("LLEN bull:bench:wait", "LLEN bull:bench:active"),
        "on Node, another language's best. `addBulk` for batches, one worker with the given concurrency, QueueEvents "
        "to await results, a sandboxed processor for CPU-bound work, `removeOnComplete` with an age of an hour.",
        processes="yes",
        node=True,
    ),
    System(
        "tarsk",
        ("tarsk-redis==0.2.1",),
        ("XLEN tarsk:bench",),
        "Rust runtime: one supervisor with one child, `--slots` as concurrency. Its async submit is a thread; results "
        "are polled, every millisecond here.",
    ),
    System(
        "saq",
        ("saq[redis,hiredis]==0.26.4", "typing-extensions==4.15.0", UVLOOP),
        ("ZCARD saq:bench:incomplete",),
        "hiredis as its README advises, uvloop. No batch submit.",
    ),
    System(
        "taskiq",
        ("taskiq-redis==1.2.4", "taskiq==0.13.0", UVLOOP, HIREDIS),
        ("XPENDING bench taskiq",),
        "the streams broker of taskiq-redis, the one that acknowledges; uvloop, `--max-async-tasks` and "
        "`--max-prefetch` as concurrency, a process pool for CPU-bound functions. Results are polled, each ms.",
        processes="yes",
    ),
    System(
        "arq",
        ("arq==0.28.0", UVLOOP),
        ("ZCARD arq:queue",),
        "polls for jobs every 10 ms here (500 by default), and for results every millisecond; uvloop. No batch submit.",
    ),
    System(
        "docket",
        ("pydocket==0.27.0", UVLOOP, HIREDIS),
        ("XLEN bench:stream",),
        "`add_many` for batches, checks every 10 ms (250 by default), uvloop; a pool of connections large enough for "
        "its concurrency (redis-py's default is not).",
    ),
    System(
        "streaq",
        ("streaq==7.2.0", UVLOOP),
        ("XLEN streaq:bench:queues:normal",),
        "`enqueue_many` in pipelines of a thousand, prefetch as the concurrency (its default), uvloop through anyio; a "
        "pool of connections large enough for all results that are awaited (its default is not).",
    ),
    System(
        "dramatiq",
        ("dramatiq[redis]==2.2.1", HIREDIS),
        ("HLEN dramatiq:bench.msgs",),
        "threads: 8 in a process, its default, whatever the concurrency asked for; as many as asked for jobs that "
        "wait. Submits block; no batch submit.",
        processes="worker processes only",
    ),
    System(
        "celery",
        ("celery[redis]==5.7.0", "gevent==25.9.1", HIREDIS),
        (),
        "one prefork child for each worker, prefetch multiplier 128 as its guide says for many short tasks, no gossip, "
        "mingle or heartbeat; a gevent pool of the given concurrency for jobs that wait. It acknowledges first "
        "(its default), so the clock stops with the last run.",
        processes="yes",
    ),
    System(
        "rq",
        ("rq==2.12.0", HIREDIS),
        ("LLEN rq:queue:bench", "ZCARD rq:wip:bench"),
        "each worker runs one job at a time, each in a fork, whatever the concurrency asked for. "
        "`enqueue_many` is one pipeline.",
        processes="yes",
    ),
    System(
        "floor",
        (),
        _LANES,
        "not a system: our scripts called in a bare loop without our product around them; what is left to gain above "
        "the scripts.",
        floor=True,
    ),
)


def chosen(names: str | None) -> list[System]:
    """The systems named, or all; taskserver and the floor are always there.

    Raises:
        ValueError: for a name that is not in the table.
    """
    known = {system.name: system for system in SYSTEMS}
    wanted = {name.strip() for name in names.split(",") if name.strip()} if names is not None else set(known)
    if unknown := wanted - known.keys():
        raise ValueError(f"no system {min(unknown)!r}; there are {', '.join(known)}")
    return [system for system in SYSTEMS if system.name in wanted | {"taskserver", "floor"}]
