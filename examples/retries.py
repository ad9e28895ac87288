"""A tool that fails at first succeeds by itself; one that always fails becomes a dead letter, and can be retried."""

import asyncio

from taskserver import Context, JobFailed, PermanentError, tool
from taskserver.testing import running_worker

service_is_up = False


@tool(max_retries=3, retry_delay=0.05)
async def flaky(*, ctx: Context) -> str:
    if ctx.attempt < 3:
        raise ConnectionError(f"no luck at attempt {ctx.attempt}")
    return f"done at attempt {ctx.attempt}"


@tool(max_retries=1, retry_delay=0.05)
async def call_service() -> str:
    if not service_is_up:
        raise ConnectionError("the service is down")
    return "the service is up"


@tool
async def read_page(number: int) -> str:
    raise PermanentError(f"there is no page {number}")  # trying again would not help


async def main() -> None:
    global service_is_up
    async with running_worker(flaky, call_service, read_page) as client:
        print(await (await client.submit(flaky)).result())

        job = await client.submit(call_service)
        try:
            await job.result()
        except JobFailed as failed:
            print(f"{(await job.status()).state}: {failed.error_message}")
        service_is_up = True
        await job.retry()
        print(await job.result())

        job = await client.submit(read_page, {"number": 0})
        try:
            await job.result()
        except JobFailed as failed:
            print(f"{(await job.status()).state}: {failed.error_message}")


if __name__ == "__main__":
    asyncio.run(main())
