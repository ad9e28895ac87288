"""``python -m tests.worker.programs.worker URL LEASE``: a worker until it is killed."""

import asyncio
import resource
import sys

from taskserver import Worker, WorkerConfig
from taskserver.store.broker.connection import Broker
from taskserver.tools import load
from taskserver.worker.identity import WorkerIdentity


async def main(url: str, lease: float) -> None:
    broker = Broker(url)
    config, identity = WorkerConfig(lease=lease, grace_period=0), WorkerIdentity(owns_process=True)
    await Worker(broker, load(["tests.worker.programs.tools"]), config, identity).run()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
