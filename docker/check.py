"""Try image and compose.yaml on a Docker engine: build, run jobs, scale, kill, stop; then remove all of it.

Run by ``make docker-check``. Exit codes: 0 all is well, 1 something is not, 69 there is no engine to try it on.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from taskserver import Client, Job

FOLDER = Path(__file__).resolve().parent
PROJECT = "taskserver-check"
IMAGE = "taskserver:check"
EXIT_NO_ENGINE = 69
"""EX_UNAVAILABLE in sysexits.h."""
LEASE = 3
"""Seconds. So a killed worker's job is running again soon."""
PATIENCE = 60.0


class CheckFailed(Exception):
    """What is not as it should be."""


def run(*command: str, **variables: str) -> str:
    """What a command prints.

    Raises:
        CheckFailed: if it fails, with what it had to say.
    """
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables}, cwd=FOLDER.parent)
    if done.returncode:
        raise CheckFailed(f"{' '.join(command)} failed ({done.returncode}):\n{done.stdout}{done.stderr}".rstrip())
    return done.stdout.strip()


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say what is being done, and how long it took."""
    print(f"  {what} … ", end="", flush=True)
    began = time.monotonic()
    try:
        yield
    except BaseException:
        print("failed")
        raise
    print(f"{time.monotonic() - began:.1f} s")


def expect(found: object, wanted: object, what: str) -> None:
    """Hold what was found to what was wanted."""
    if found != wanted:
        raise CheckFailed(f"{what}: {found!r}, and not {wanted!r}")


async def until(look: Callable[[], Any], wanted: object, what: str) -> None:
    """Wait until something is as wanted, which others bring about."""
    end = time.monotonic() + PATIENCE
    while (found := await asyncio.to_thread(look)) != wanted:
        if time.monotonic() > end:
            expect(found, wanted, what)
        await asyncio.sleep(0.25)


class Stack:
    """What compose.yaml brings up, under a name, with ports and a password of its own.

    Args:
        folder: A private folder, for the password.
    """

    def __init__(self, folder: Path) -> None:
        self._password = folder / "broker_password"
        self._password.write_text(secrets.token_hex(32))
        self._password.chmod(0o644)  # the worker's user reads it; the folder keeps others out
        self._variables = {
            "BROKER_PASSWORD_FILE": str(self._password),
            "TASKSERVER_IMAGE": IMAGE,
            "TASKSERVER_LEASE": str(LEASE),
            "REDIS_PORT": "0",  # any that is free
            "PROMETHEUS_PORT": "0",
        }

    def compose(self, *arguments: str) -> str:
        """Run docker compose."""
        return run(
            "docker", "compose", "-f", str(FOLDER / "compose.yaml"), "-p", PROJECT, *arguments, **self._variables
        )

    def scale(self, workers: int) -> None:
        """Bring up what is not up, with so many workers, and wait until all of it is healthy."""
        self.compose("up", "--detach", "--wait", "--no-recreate", "--scale", f"worker={workers}")

    def address(self, service: str, port: int) -> str:
        """Where a port of a service is on this machine."""
        return self.compose("port", service, str(port))

    def broker_url(self) -> str:
        """The broker, for clients on this machine."""
        return f"redis://:{self._password.read_text()}@{self.address('redis', 6379)}/0"

    def workers(self) -> list[dict[str, Any]]:
        """The workers, as the broker knows them."""
        told: list[dict[str, Any]] = json.loads(
            run(
                sys.executable,
                "-m",
                "taskserver",
                "worker",
                "status",
                "--json",
                TASKSERVER_BROKER_URL=self.broker_url(),
            )
        )
        return told

    def container_of(self, job: Job[Any]) -> str:
        """The container in which a job runs: a worker's host is its container's id. Empty if it runs nowhere."""
        for worker in self.workers():
            if any(each["id"] == job.id for each in worker["running"]):
                return str(worker["host"])
        return ""

    def measured(self, query: str) -> float:
        """What Prometheus answers; not a number if it has nothing yet."""
        url = f"http://{self.address('prometheus', 9090)}/api/v1/query?query={urllib.parse.quote(query)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            result = json.load(answer)["data"]["result"]
        return float(result[0]["value"][1]) if result else float("nan")

    def down(self) -> None:
        """Remove containers, networks, volumes and image."""
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "10")
        if run("docker", "image", "ls", "--quiet", IMAGE):
            run("docker", "image", "rm", IMAGE)


async def check(stack: Stack) -> None:
    """The whole story, from the image to the last worker that stops."""
    with step("builds the image"):
        stack.compose("build", "worker")
    size = int(run("docker", "image", "inspect", "--format", "{{.Size}}", IMAGE))
    print(f"  the image has {size / 1e6:.0f} MB, its base among them")
    with step("brings up Redis, two workers, metrics and Prometheus"):
        stack.scale(2)
    check_containers(stack)
    async with Client(stack.broker_url()) as client:
        await check_jobs(stack, client)
        with step("scales to three workers, and Prometheus sees them"):
            stack.scale(3)
            await until(lambda: stack.measured('sum(up{job="taskserver"})'), 3, "workers that Prometheus scrapes")
        await check_kill(stack, client)
        await check_stop(stack, client)


def check_containers(stack: Stack) -> None:
    """Nobody is root, and nothing can be written where nothing should be."""
    with step("is not root, and cannot write to its image"):
        expect(stack.compose("exec", "-T", "worker", "id", "-u"), "10001", "the worker's user")
        touched = stack.compose(
            "exec", "-T", "worker", "sh", "-c", "touch /app/x 2>/dev/null && echo written || echo refused"
        )
        expect(touched, "refused", "a write to /app")
        root = stack.compose("exec", "-T", "worker", "sh", "-c", "command -v gcc pip || echo none").splitlines()
        expect([each for each in root if each.startswith("/opt/taskserver")], [], "tools to build with")


async def check_jobs(stack: Stack, client: Client) -> None:
    """Jobs that are submitted on this machine run in the containers, and Prometheus counts them."""
    with step("runs jobs from this machine"):
        jobs = await client.submit_many([("count_words", {"text": "one two three"})] * 20)
        expect([await job.result(timeout=PATIENCE) for job in jobs], [3] * 20, "results")
    with step("tells Prometheus"):
        succeeded = 'sum(taskserver_jobs_succeeded_total{tool="count_words"})'
        await until(lambda: stack.measured(succeeded), 20, "jobs that Prometheus counts")
        await until(lambda: stack.measured("taskserver_workers"), 2, "workers that Prometheus counts")


async def check_kill(stack: Stack, client: Client) -> None:
    """The job of a worker that is killed runs again elsewhere."""
    with step("kills a worker, whose job ends elsewhere"):
        job = await client.submit("countdown", {"seconds": 5})
        container = await running_in(stack, job)
        run("docker", "kill", "--signal", "KILL", container)
        expect(await job.result(timeout=PATIENCE), "attempt 2 counted 5 s down", "its job")


async def check_stop(stack: Stack, client: Client) -> None:
    """A worker that is stopped lets its job end."""
    with step("stops a worker, which lets its job end"):
        job = await client.submit("countdown", {"seconds": 5})
        container = await running_in(stack, job)
        run("docker", "stop", "--time", "45", container)
        expect(await job.result(timeout=PATIENCE), "attempt 1 counted 5 s down", "its job")
        expect(run("docker", "inspect", "--format", "{{.State.ExitCode}}", container), "0", "the worker's exit code")


async def running_in(stack: Stack, job: Job[Any]) -> str:
    """The container in which a job runs, once it does."""
    await until(lambda: bool(stack.container_of(job)), True, "the job runs somewhere")
    return stack.container_of(job)


def engine_trouble() -> str:
    """Why nothing can be tried here; empty if it can."""
    for command in (("docker", "version"), ("docker", "compose", "version")):
        try:
            run(*command)
        except FileNotFoundError:
            return "docker is not installed"
        except CheckFailed as failed:
            return str(failed).splitlines()[-1]
    return ""


def main() -> int:
    """Try it all and return the exit code."""
    if trouble := engine_trouble():
        print(f"Nothing was checked, for no Docker engine with compose answers here: {trouble}", file=sys.stderr)
        return EXIT_NO_ENGINE
    print("docker-check:")
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Path(folder))
        try:
            asyncio.run(check(stack))
        except CheckFailed as failed:
            print(f"docker-check failed: {failed}", file=sys.stderr)
            print(stack.compose("logs", "--no-color", "--tail", "20"), file=sys.stderr)
            return 1
        finally:
            with step("removes all of it"):
                stack.down()
    print("all is well")
    return 0


if __name__ == "__main__":
    sys.exit(main())
