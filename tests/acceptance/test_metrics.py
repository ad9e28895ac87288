"""Metrics as Prometheus sees them: two replicas, the cluster's page, health, and what goes wrong."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from tests.acceptance.cli import Cli, Running
from tests.acceptance.fleet import eventually, replicas
from tests.brokers import Server, kinds
from tests.patience import PATIENCE

real = pytest.mark.skipif(shutil.which("prometheus") is None, reason="Prometheus is not installed: apt-get install it")


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def url_of(running: Running) -> str:
    found = re.search(r"http://\S+(?=/metrics)", running.wait_for("serving metrics at"))
    assert found
    return found[0]


def value(page: str, series: str) -> float | None:
    found = re.search(rf"^{re.escape(series)} (\S+)$", page, re.MULTILINE)
    return float(found[1]) if found else None


def lint(page: str) -> None:
    if shutil.which("promtool"):
        done = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")


def test_a_worker_serves_what_it_counts_and_how_it_is(cli: Cli) -> None:
    worker = cli.worker("--metrics-port", "0", "--lease", "1")
    url = url_of(worker)
    assert get(f"{url}/healthz") == (200, "ok\n")
    assert get(f"{url}/readyz") == (200, "ok\n")
    cli.ok("submit", "add", "a=1", "--wait")
    assert cli.run("submit", "fail", "--wait").code == 1
    page = get(f"{url}/metrics")[1]
    lint(page)
    add, fail = (f'{{queue="default",tool="{tool}"}}' for tool in ("add", "fail"))
    assert value(page, f"taskserver_jobs_succeeded_total{add}") == 1
    assert value(page, f"taskserver_jobs_dead_lettered_total{fail}") == 1
    assert value(page, f"taskserver_job_duration_seconds_count{add}") == 1
    assert value(page, f"taskserver_job_queue_wait_seconds_count{add}") == 1
    cli.holding()
    worker.signal(signal.SIGTERM)
    worker.wait_for("is stopping; running jobs: 1")
    assert get(f"{url}/readyz") == (503, "stopping: it takes no more jobs\n")
    cli.open_gate()


BLOCKING = """
import time
from pathlib import Path

from taskserver import tool


@tool(timeout=None)
async def block(gate: str) -> int:
    while not Path(gate).exists():
        time.sleep(0.01)
    return 1
"""


def test_a_blocked_event_loop_is_not_healthy_and_its_page_still_answers(cli: Cli) -> None:
    (cli.folder / "blocking.py").write_text(BLOCKING)
    worker = cli.start("worker", "--tools", "blocking", "--metrics-port", "0", "--lease", "1")
    url = url_of(worker)
    worker.wait_for("is ready")
    job = cli.submit("block", f"gate={cli.gate}")
    eventually(lambda: get(f"{url}/healthz")[0] == 503)
    assert "the event loop has been blocked for" in get(f"{url}/healthz")[1]
    assert get(f"{url}/readyz")[0] == 503
    page = get(f"{url}/metrics")[1]
    assert (value(page, "taskserver_replica_ready"), value(page, "taskserver_replica_slots_busy")) == (0, 1)
    cli.open_gate()
    eventually(lambda: get(f"{url}/healthz") == (200, "ok\n"))
    assert cli.ok("job", "result", job).out.strip() == "1"
    assert cli.state(job)["attempt"] == 1, "its lease was kept all the while"


def test_a_worker_without_its_broker_is_not_ready_but_healthy(cli: Cli) -> None:
    server = Server(kinds()[max(kinds())]).start()
    try:
        worker = cli.worker("--metrics-port", "0", "--lease", "1", TASKSERVER_BROKER_URL=server.url)
        url = url_of(worker)
        assert get(f"{url}/readyz") == (200, "ok\n")
        for away, back in (
            (lambda: server.signal(signal.SIGSTOP), lambda: server.signal(signal.SIGCONT)),
            (server.kill, server.start),
        ):
            away()
            eventually(lambda: get(f"{url}/readyz")[0] == 503)
            assert "the broker has not answered a heartbeat for" in get(f"{url}/readyz")[1]
            assert get(f"{url}/healthz") == (200, "ok\n"), "nothing is gained by ending it"
            back()
            eventually(lambda: get(f"{url}/readyz") == (200, "ok\n"))
        worker.signal(signal.SIGTERM)
        assert worker.end().code == 0
    finally:
        server.close()


def test_the_whole_is_served_once(cli: Cli) -> None:
    cli.worker("-c", "3", "--lease", "1")
    cli.submit("add", "a=1", "--queue", "elsewhere")
    page = cli.ok("metrics", "--once").out
    lint(page)
    assert value(page, "taskserver_up") == 1
    assert value(page, "taskserver_workers") == 1
    assert value(page, "taskserver_worker_slots") == 3
    assert value(page, 'taskserver_queue_ready{queue="elsewhere"}') == 1
    assert value(page, 'taskserver_queue_workers{queue="elsewhere"}') == 0
    assert 'queue="default"' not in cli.ok("metrics", "--once", "-q", "elsewhere").out


def test_a_broker_that_is_away_is_told_and_no_error_page(cli: Cli) -> None:
    exporter = cli.start(
        "metrics", "--port", "0", TASKSERVER_BROKER_URL="redis://127.0.0.1:1/0", TASKSERVER_PATIENCE="0"
    )
    status, page = get(f"{url_of(exporter)}/metrics")
    assert (status, value(page, "taskserver_up")) == (200, 0)


def test_a_port_in_use_is_one_sentence(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for command in (("worker", "--tools", "agent_tools", "--metrics-port", port), ("metrics", "--port", port)):
            done = cli.run(*command)
            assert done.code == 2
            assert done.err.startswith(f"taskserver: could not serve metrics on port {port} of 127.0.0.1: address alre")
            assert "Traceback" not in done.err
    done = cli.run("worker", "--tools", "agent_tools", "--replicas", "2", "--metrics-port", port)
    assert (done.code, "--metrics-port 0" in done.err) == (2, True)


@real
def test_prometheus_finds_two_replicas_and_answers_with_the_right_numbers(cli: Cli, tmp_path: Path) -> None:
    targets = tmp_path / "targets.json"
    fleet = replicas(cli, 2, "--metrics-targets", str(targets))
    eventually(lambda: len(json.loads(targets.read_text())) == 2)
    (tmp_path / "prometheus.yml").write_text(
        "global: {scrape_interval: 500ms, scrape_timeout: 500ms}\nscrape_configs:\n"
        f"  - {{job_name: taskserver, file_sd_configs: [{{files: ['{targets}'], refresh_interval: 1s}}]}}\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = (tmp_path / "prometheus.log").open("wb")
    prometheus = subprocess.Popen(
        ["prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data",
         f"--web.listen-address=127.0.0.1:{port}"],
        stdout=log, stderr=log,
    )  # fmt: skip

    def query(expression: str) -> float | None:
        try:
            answer = get(f"http://127.0.0.1:{port}/api/v1/query?query={urllib.parse.quote(expression)}")[1]
            result = json.loads(answer)["data"]["result"]
        except (OSError, ValueError, KeyError):
            return None
        return float(result[0]["value"][1]) if result else None

    try:
        eventually(lambda: query("sum(up)") == 2)
        for number in range(5):
            cli.submit("add", f"a={number}")
        cli.submit("fail")
        eventually(lambda: query('sum(taskserver_jobs_succeeded_total{tool="add"})') == 5)
        eventually(lambda: query("sum(taskserver_jobs_dead_lettered_total)") == 1)
        assert query('sum(taskserver_job_duration_seconds_count{tool="add"})') == 5
        assert query("sum(taskserver_replica_slots)") == 8
    finally:
        prometheus.terminate()
        prometheus.wait(30)
        log.close()
    fleet.signal(signal.SIGTERM)
    assert fleet.end().code == 0
    assert not targets.exists()
