"""A message type and consumer of your own, with hooks."""

import pytest

from taskserver import BaseConsumer, BaseMessage, Client, Context, JobFailed, RetryPolicy
from tests.conftest import RunWorker


class Order(BaseMessage):
    item: str
    count: int = 1


class OrderConsumer(BaseConsumer[Order]):
    timeout = 30
    retry = RetryPolicy(max_retries=5, delay=0.01)

    def __init__(self) -> None:
        self.replies: list[str] = []

    async def process(self, message: Order, ctx: Context) -> str:
        if message.item == "unicorn":
            raise LookupError("sold out")
        if ctx.attempt < 3:
            raise ConnectionError("try again")
        return f"{message.count} {message.item}"

    async def on_success(self, result: str, message: Order) -> None:
        self.replies.append(f"sold {result}")

    async def on_failure(self, error: BaseException, message: Order) -> None:
        self.replies.append(f"no {message.item}: {error}")

    def should_retry(self, error: BaseException, message: Order) -> bool:
        return not isinstance(error, LookupError)


async def test_a_consumer_processes_its_messages(client: Client, run_worker: RunWorker) -> None:
    consumer = OrderConsumer()
    async with run_worker(consumer):
        assert await (await client.send(Order(item="apples", count=3))).result(timeout=60) == "3 apples"
        with pytest.raises(JobFailed, match="sold out"):
            await (await client.send(Order(item="unicorn"))).result(timeout=60)
    assert consumer.replies == ["sold 3 apples", "no unicorn: sold out"]
