"""A message type of your own, and the consumer that processes it."""

import asyncio

from taskserver import BaseConsumer, BaseMessage, Context
from taskserver.testing import running_worker


class SendReport(BaseMessage):
    address: str
    pages: list[int] = []


class ReportConsumer(BaseConsumer[SendReport]):
    async def process(self, message: SendReport, ctx: Context) -> str:
        return f"{len(message.pages)} pages to {message.address}"

    async def on_success(self, result: str, message: SendReport) -> None:
        print(f"sent: {result}")


async def main() -> None:
    async with running_worker(ReportConsumer) as client:
        job = await client.send(SendReport(address="ada@example.org", pages=[1, 2, 3]), priority="high")
        print(await job.result(timeout=60))


if __name__ == "__main__":
    asyncio.run(main())
