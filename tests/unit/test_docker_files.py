"""The image and the compose file, as far as they can be tested without a Docker engine."""

from __future__ import annotations

import os
import re
import runpy
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from taskserver.cli.main import root
from taskserver.config.settings import Settings
from taskserver.observability.serving import Page, PageServer, health_page

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("worker", "metrics")
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
COPIED = {name for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE) for name in line.split()}
check = runpy.run_path(str(DOCKER / "healthcheck.py"))["check"]


@pytest.mark.parametrize("service", SERVICES)
def test_whatever_is_published_is_published_to_this_machine_alone(service: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[service].get("ports", ()))


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_says_how_it_is_and_may_do_little(service: str) -> None:
    about = SERVICES[service]
    assert about["healthcheck"]["test"]
    assert about["cap_drop"] == ["ALL"]
    assert about["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("service", SERVICES)
def test_no_log_fills_the_disk(service: str) -> None:
    assert SERVICES[service]["logging"] == {"driver": "local"}


def test_redis_saves_once_and_has_time_to_read_what_it_saved() -> None:
    lines = [line.strip() for line in SERVICES["redis"]["command"][2].splitlines()]
    assert {"appendonly yes", 'save ""'} <= set(lines)
    assert SERVICES["redis"]["healthcheck"]["start_period"] == "5m"


def test_another_source_keeps_the_layer_of_the_dependencies() -> None:
    install, source = DOCKERFILE.index("-r requirements.txt"), DOCKERFILE.index("COPY taskserver")
    assert install < source
    assert "--no-deps" in DOCKERFILE[source:]


@pytest.mark.parametrize("service", [name for name in SERVICES if "depends_on" in SERVICES[name]])
def test_what_others_need_is_waited_for(service: str) -> None:
    assert {each["condition"] for each in SERVICES[service]["depends_on"].values()} == {"service_healthy"}


@pytest.mark.parametrize("service", OURS)
def test_the_commands_are_those_of_this_version(service: str) -> None:
    name, *flags = SERVICES[service]["command"]
    command = root.get_command(click.Context(root), name)
    assert command is not None
    if isinstance(command, click.Group):
        command = command.get_command(click.Context(command), "start")
        assert command is not None
    known = {flag for parameter in command.params for flag in parameter.opts}
    assert {flag for flag in flags if flag.startswith("--")} <= known


@pytest.mark.parametrize("service", OURS)
def test_the_variables_are_those_of_this_version(service: str) -> None:
    names = {name.removeprefix("TASKSERVER_").lower() for name in SERVICES[service]["environment"]}
    assert names <= set(Settings.model_fields)


def test_a_worker_has_longer_to_stop_than_its_jobs_have_to_end() -> None:
    command = SERVICES["worker"]["command"]
    grace = command[command.index("--grace-period") + 1]
    assert int(SERVICES["worker"]["stop_grace_period"].rstrip("s")) > int(grace.rstrip("s"))


def test_no_password_is_written_down() -> None:
    assert "requirepass $$(cat /run/secrets/broker_password)" in SERVICES["redis"]["command"][2]
    assert "docker/secrets" in (ROOT / ".gitignore").read_text()


def test_files_that_are_mounted_or_copied_are_there() -> None:
    volumes = [volume for about in SERVICES.values() for volume in about.get("volumes", ())]
    mounted = [volume.partition(":")[0] for volume in volumes if volume.startswith(".")]
    assert all((DOCKER / path).exists() for path in mounted)
    assert all((ROOT / path).exists() for path in COPIED)


def test_nothing_goes_to_the_engine_but_what_is_asked_for() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "**"
    assert {rule[1:].removesuffix("/**") for rule in rules if rule.startswith("!")} == COPIED


def test_the_image_is_nobodys_and_fetches_no_syntax() -> None:
    assert "USER 10001:10001" in DOCKERFILE
    assert "# syntax" not in DOCKERFILE


class Stranger(BaseHTTPRequestHandler):
    """A port of a tool, which knows no health."""

    def do_GET(self) -> None:
        self.send_error(500)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def stranger() -> Iterator[None]:
    with HTTPServer(("127.0.0.1", 0), Stranger) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield
        server.shutdown()
        thread.join()


@contextmanager
def serving(host: str, pages: dict[str, Page]) -> Iterator[None]:
    server = PageServer(host, 0, pages)
    server.start()
    yield
    server.close()


def health(problem: str = "") -> Page:
    return health_page(lambda: problem)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "::"])
def test_the_health_check_finds_who_serves_health_and_believes_nobody_else(
    host: str, stranger: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with serving(host, {"/healthz": health(), "/readyz": health("starting")}):
        assert check("/healthz", False, [os.getpid()]) == (0, "ok")
        assert check("/readyz", True, [os.getpid()]) == (1, "starting")
        with serving(host, {"/healthz": health("blocked")}):
            assert check("/healthz", False, [os.getpid()]) == (1, "blocked")  # one of several replicas is


def test_the_health_check_of_nobody(stranger: None) -> None:
    for expected in (False, True):
        code, message = check("/healthz", expected, [os.getpid()])
        assert (code, message.partition(":")[0]) == (expected, "not checked")


def test_the_health_check_of_a_worker_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(check.__globals__, "ANSWER_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        code, message = check("/healthz", False, [os.getpid()])
        assert (code, message.partition(":")[0]) == (1, f"no answer from port {silent.getsockname()[1]}")
