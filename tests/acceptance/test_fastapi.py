"""A program with FastAPI returns statuses and events as they are, and has one handler for jobs that are not there."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from taskserver import Client, Event, JobNotFound, JobStatus, tool
from taskserver.testing import running_worker
from tests.patience import PATIENCE


@tool
async def double(number: int) -> int:
    return 2 * number


class Answered(NamedTuple):
    status: int
    data: Any


async def get(app: FastAPI, path: str) -> Answered:
    """What the app answers, without a server."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b""}
    await app({**scope, "headers": [], "http_version": "1.1", "scheme": "http"}, receive, send)
    return Answered(sent[0]["status"], msgspec.json.decode(b"".join(each.get("body", b"") for each in sent[1:])))


def program(client: Client) -> FastAPI:
    app = FastAPI()

    @app.get("/jobs/{job_id}")
    async def status(job_id: str) -> JobStatus:
        return await client.job(job_id).status()

    @app.get("/jobs/{job_id}/events")
    async def events(job_id: str) -> list[Event]:
        return [event async for event in client.job(job_id).events()]

    @app.exception_handler(JobNotFound)
    async def not_found(_: Request, error: JobNotFound) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 404)

    return app


async def test_a_program_returns_what_it_is_told_as_it_is(one_broker_url: str) -> None:
    async with running_worker(double, url=one_broker_url) as client:
        job = await client.submit(double, {"number": 2})
        await job.result(timeout=PATIENCE)
        app = program(client)
        assert (await get(app, f"/jobs/{job.id}")).data["state"] == "succeeded"
        assert await get(app, f"/jobs/{job.id}/events") == (200, [])
        for unknown, problem in ((f"default-{'0' * 24}", "not found"), ("x", "is not a job id")):
            code, data = await get(app, f"/jobs/{unknown}")
            assert (code, problem in data["detail"]) == (404, True)
        assert app.openapi()["paths"]["/jobs/{job_id}"]["get"]["responses"]["200"]["content"]
