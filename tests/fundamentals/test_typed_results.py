"""A result has the annotated type: a struct, a dataclass, a pydantic model."""

from dataclasses import dataclass
from datetime import date

import msgspec
import pydantic

from taskserver import Client, tool
from tests.conftest import RunWorker


class Struct(msgspec.Struct):
    day: date


@dataclass
class Data:
    day: date


class Model(pydantic.BaseModel):
    day: date


@tool
async def struct() -> Struct:
    return Struct(date(2030, 1, 2))


@tool
async def data() -> list[Data]:
    return [Data(date(2030, 1, 2))]


@tool
async def model() -> Model | None:
    return Model(day=date(2030, 1, 2))


async def test_by_function_typed_by_name_plain(client: Client, run_worker: RunWorker) -> None:
    async with run_worker(struct, data, model):
        assert await (await client.submit(struct)).result(timeout=60) == Struct(date(2030, 1, 2))
        assert await (await client.submit(data)).result(timeout=60) == [Data(date(2030, 1, 2))]
        assert await (await client.submit(model)).result(timeout=60) == Model(day=date(2030, 1, 2))
        plain = await client.submit("struct")
        assert await plain.result(timeout=60) == {"day": "2030-01-02"}
        assert await client.job(plain.id, returns=Struct).result(timeout=60) == Struct(date(2030, 1, 2))
