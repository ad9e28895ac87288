"""What a consumer's hooks do, or fail to do, changes nothing about the job."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from taskserver import BaseConsumer, BaseMessage, Client, Context, JobFailed, State
from tests.patience import PATIENCE
from tests.worker.conftest import Hire


class Order(BaseMessage):
    good: bool = True


async def _raise(error: BaseException) -> None:
    raise error


HOOKS: dict[str, Callable[[], Awaitable[None]]] = {
    "an error": lambda: _raise(ValueError("hook")),
    "an exit": lambda: _raise(SystemExit(3)),
    "an interrupt": lambda: _raise(KeyboardInterrupt()),
    "a cancellation": lambda: _raise(asyncio.CancelledError()),
    "no end": lambda: asyncio.Event().wait(),  # type: ignore[dict-item, return-value]
    "no coroutine": lambda: [][0],
}


class Shop(BaseConsumer[Order]):
    timeout = 0.5

    def __init__(self, hook: Callable[[], Awaitable[None]]) -> None:
        self.hook = hook

    async def process(self, message: Order, ctx: Context) -> str:
        if not message.good:
            raise ValueError("sold out")
        return "sold"

    def on_success(self, result: object, message: Order) -> Awaitable[None]:  # type: ignore[override]
        return self.hook()

    def on_failure(self, error: BaseException, message: Order) -> Awaitable[None]:  # type: ignore[override]
        return self.hook()

    def should_retry(self, error: BaseException, message: Order) -> bool:
        return False


@pytest.mark.parametrize("does", HOOKS)
async def test_on_success(client: Client, hire: Hire, does: str) -> None:
    await hire(Shop(HOOKS[does]))
    job = await client.send(Order())
    assert await job.result(timeout=PATIENCE) == "sold"
    assert (await job.status()).history == []


@pytest.mark.parametrize("does", HOOKS)
async def test_on_failure(client: Client, hire: Hire, does: str) -> None:
    await hire(Shop(HOOKS[does]))
    job = await client.send(Order(good=False))
    with pytest.raises(JobFailed, match="sold out"):
        await job.result(timeout=PATIENCE)
    assert [line.event for line in (await job.status()).history] == ["failed"]


async def test_a_should_retry_that_raises_counts_as_not_overridden(client: Client, hire: Hire) -> None:
    class Broken(BaseConsumer[Order]):
        async def process(self, message: Order, ctx: Context) -> str:
            raise ValueError("sold out")

        def should_retry(self, error: BaseException, message: Order) -> bool:
            raise KeyError("hook")

    await hire(Broken)
    job = await client.send(Order(), max_retries=0)
    with pytest.raises(JobFailed, match="sold out"):
        await job.result(timeout=PATIENCE)
    assert (await job.status()).state is State.DEAD
