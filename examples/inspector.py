"""An operator's program: look at a queue, pause it, find out why jobs died, and run them again."""

import asyncio
from contextlib import suppress

from taskserver import Inspector, JobFailed, tool
from taskserver.testing import running_worker

service_is_up = False


@tool(max_retries=0)
async def call_service(name: str) -> str:
    if not service_is_up:
        raise ConnectionError("the service is down")
    return f"hello {name}"


async def main() -> None:
    global service_is_up
    async with running_worker(call_service) as client, Inspector() as inspector:
        jobs = await client.submit_many([(call_service, {"name": name}) for name in ("Ada", "Grace")])
        for job in jobs:
            with suppress(JobFailed):
                await job.result()

        for cause in await inspector.causes():
            print(f"{cause.number} dead of {cause.tool}: {cause.error}")

        await inspector.pause("default")  # running jobs continue
        service_is_up = True
        done = await inspector.requeue(tool="call_service")
        queue = await inspector.queue("default")
        print(f"{done.queued} queued again, {queue.dead} dead, paused: {queue.paused}")

        await inspector.resume("default")
        print([await job.result() for job in jobs])


if __name__ == "__main__":
    asyncio.run(main())
