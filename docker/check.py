"""Test the image and compose.yaml on a Docker engine: build, run jobs, scale, kill, stop, and remove everything.

Run it with ``make docker-check``. Exit codes: 0 passed, 1 failed, 69 there is no Docker engine.
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
"""Seconds; short, so that the job of a killed worker soon runs again."""
PATIENCE = 60.0


class CheckFailed(Exception):
    """Something is not as expected."""


def run(*command: str, **variables: str) -> str:
    """Run a command and return its output.

    Raises:
        CheckFailed: if it fails, with its output.
    """
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables}, cwd=FOLDER.parent)
    if done.returncode:
        raise CheckFailed(f"{' '.join(command)} failed ({done.returncode}):\n{done.stdout}{done.stderr}".rstrip())
    return done.stdout.strip()


@contextmanager
def step(what: str) -> Iterator[None]:
    """Print what is being done, and how long it took."""
    print(f"  {what} … ", end="", flush=True)
    began = time.monotonic()
    try:
        yield
    except BaseException:
        print("failed")
        raise
    print(f"{time.monotonic() - began:.1f} s")


def expect(found: object, wanted: object, what: str) -> None:
    """Fail if ``found`` is not ``wanted``."""
    if found != wanted:
        raise CheckFailed(f"{what}: expected {wanted!r}, found {found!r}")


async def until(look: Callable[[], Any], wanted: object, what: str) -> None:
    """Wait until ``look()`` returns ``wanted``."""
    end = time.monotonic() + PATIENCE
    while (found := await asyncio.to_thread(look)) != wanted:
        if time.monotonic() > end:
            expect(found, wanted, what)
        await asyncio.sleep(0.25)


class Stack:
    """The services of compose.yaml, with a project name, ports and a password of their own.

    Args:
        folder: A private folder for the password.
    """

    def __init__(self, folder: Path) -> None:
        self._password = folder / "broker_password"
        self._password.write_text(secrets.token_hex(32))
        self._password.chmod(0o644)  # the worker's user reads it; the folder keeps others out
        self._variables = {
            "BROKER_PASSWORD_FILE": str(self._password),
            "TASKSERVER_IMAGE": IMAGE,
            "TASKSERVER_LEASE": str(LEASE),
            "REDIS_PORT": "0",  # any free port
            "PROMETHEUS_PORT": "0",
        }

    def compose(self, *arguments: str) -> str:
        """Run docker compose."""
        return run(
            "docker", "compose", "-f", str(FOLDER / "compose.yaml"), "-p", PROJECT, *arguments, **self._variables
        )

    def scale(self, workers: int) -> None:
        """Start everything with this number of workers, and wait until all services are healthy."""
        self.compose("up", "--detach", "--wait", "--no-recreate", "--scale", f"worker={workers}")

    def address(self, service: str, port: int) -> str:
        """The address of a service's port on this machine."""
        return self.compose("port", service, str(port))

    def broker_url(self) -> str:
        """The URL of the broker for clients on this machine."""
        return f"redis://:{self._password.read_text()}@{self.address('redis', 6379)}/0"

    def workers(self) -> list[dict[str, Any]]:
        """The workers, as the broker knows them."""
        workers: list[dict[str, Any]] = json.loads(
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
        return workers

    def container_of(self, job: Job[Any]) -> str:
        """The container in which a job runs; empty if none does. The host of a worker is the id of its container."""
        for worker in self.workers():
            if any(each["id"] == job.id for each in worker["running"]):
                return str(worker["host"])
        return ""

    def measured(self, query: str) -> float:
        """The answer of Prometheus; NaN if it has no data yet."""
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
    """All checks, from building the image to stopping a worker."""
    with step("build the image"):
        stack.compose("build", "worker")
    size = int(run("docker", "image", "inspect", "--format", "{{.Size}}", IMAGE))
    print(f"  the image has {size / 1e6:.0f} MB, including its base")
    with step("start Redis, two workers, metrics and Prometheus"):
        stack.scale(2)
    check_containers(stack)
    async with Client(stack.broker_url()) as client:
        await check_jobs(stack, client)
        with step("scale to three workers, which Prometheus finds"):
            stack.scale(3)
            await until(lambda: stack.measured('sum(up{job="taskserver"})'), 3, "workers that Prometheus scrapes")
        await check_kill(stack, client)
        await check_stop(stack, client)


def check_containers(stack: Stack) -> None:
    """Workers are not root, cannot write to their image, and have no build tools."""
    with step("check the user, the file system and the tools of the image"):
        expect(stack.compose("exec", "-T", "worker", "id", "-u"), "10001", "the worker's user")
        touched = stack.compose(
            "exec", "-T", "worker", "sh", "-c", "touch /app/x 2>/dev/null && echo written || echo refused"
        )
        expect(touched, "refused", "a write to /app")
        root = stack.compose("exec", "-T", "worker", "sh", "-c", "command -v gcc pip || echo none").splitlines()
        expect([each for each in root if each.startswith("/opt/taskserver")], [], "build tools")


async def check_jobs(stack: Stack, client: Client) -> None:
    """Jobs submitted on this machine run in the containers, and Prometheus counts them."""
    with step("run jobs from this machine"):
        jobs = await client.submit_many([("count_words", {"text": "one two three"})] * 20)
        expect([await job.result(timeout=PATIENCE) for job in jobs], [3] * 20, "results")
    with step("check the counts in Prometheus"):
        succeeded = 'sum(taskserver_jobs_succeeded_total{tool="count_words"})'
        await until(lambda: stack.measured(succeeded), 20, "jobs that Prometheus counts")
        await until(lambda: stack.measured("taskserver_workers"), 2, "workers that Prometheus counts")


async def check_kill(stack: Stack, client: Client) -> None:
    """The job of a killed worker runs again elsewhere."""
    with step("kill a worker, whose job finishes elsewhere"):
        job = await client.submit("countdown", {"seconds": 5})
        container = await running_in(stack, job)
        run("docker", "kill", "--signal", "KILL", container)
        expect(await job.result(timeout=PATIENCE), "attempt 2 counted down 5 s", "its job")


async def check_stop(stack: Stack, client: Client) -> None:
    """A stopping worker finishes its job."""
    with step("stop a worker, which finishes its job"):
        job = await client.submit("countdown", {"seconds": 5})
        container = await running_in(stack, job)
        run("docker", "stop", "--time", "45", container)
        expect(await job.result(timeout=PATIENCE), "attempt 1 counted down 5 s", "its job")
        expect(run("docker", "inspect", "--format", "{{.State.ExitCode}}", container), "0", "the worker's exit code")


async def running_in(stack: Stack, job: Job[Any]) -> str:
    """Wait until a job runs, and return its container."""
    await until(lambda: bool(stack.container_of(job)), True, "the job is running")
    return stack.container_of(job)


def engine_trouble() -> str:
    """Why there is no usable Docker engine; empty if there is one."""
    for command in (("docker", "version"), ("docker", "compose", "version")):
        try:
            run(*command)
        except FileNotFoundError:
            return "docker is not installed"
        except CheckFailed as failed:
            return str(failed).splitlines()[-1]
    return ""


def main() -> int:
    """Run all checks and return the exit code."""
    if trouble := engine_trouble():
        print(f"nothing was checked: there is no Docker engine with compose: {trouble}", file=sys.stderr)
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
            with step("remove everything"):
                stack.down()
    print("passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
