"""Effects that must not happen twice: the submit has a key, and so does the effect."""

import asyncio

from taskserver import Context, tool
from taskserver.testing import running_worker

ledger: dict[str, int] = {}
"""In place of a payment service that accepts an idempotency key."""


@tool(max_retries=2, retry_delay=0.05)
async def pay(cents: int, *, ctx: Context) -> int:
    ledger.setdefault(ctx.idempotency_key, cents)  # the second attempt changes nothing
    if ctx.attempt == 1:
        raise ConnectionError("the answer was lost, but the money was paid")
    return ledger[ctx.idempotency_key]


async def main() -> None:
    async with running_worker(pay) as client:
        call = "tool-call-17"  # an agent's id of this call: the same after the agent has restarted
        jobs = [await client.submit(pay, {"cents": 250}, idempotency_key=call) for _ in range(3)]
        print(f"{len({job.id for job in jobs})} job for {len(jobs)} submits")
        print(f"paid {await jobs[0].result()} cents in {len(ledger)} payment")


if __name__ == "__main__":
    asyncio.run(main())
