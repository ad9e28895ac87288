"""A connection that all tools of a worker share: opened before the first job, closed after the last."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from typing import Annotated

from taskserver import tool, worker_lifespan
from taskserver.testing import running_worker


@worker_lifespan
async def database() -> AsyncIterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    connection.execute("create table payments (cents int)")
    print("opened")
    yield connection
    connection.close()
    print("closed")


Database = Annotated[sqlite3.Connection, database]


@tool
async def pay(cents: int, *, db: Database) -> None:
    db.execute("insert into payments values (?)", [cents])


@tool
async def total(*, db: Database) -> int:
    return int(db.execute("select sum(cents) from payments").fetchone()[0])


async def main() -> None:
    async with running_worker(pay, total) as client:
        payments = await client.submit_many([(pay, {"cents": cents}) for cents in (100, 150)])
        await asyncio.gather(*(payment.result(timeout=60) for payment in payments))
        print("paid:", await (await client.submit(total)).result(timeout=60))


if __name__ == "__main__":
    asyncio.run(main())
