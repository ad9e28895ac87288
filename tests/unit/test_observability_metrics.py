"""Metrics: what is declared is served, documented and drawn; counting is bounded; hostile clients do no harm."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import yaml

from taskserver.domain.buckets import parse_buckets
from taskserver.domain.job import ClaimedJob
from taskserver.errors import ConfigError
from taskserver.observability.discovery import remove_targets, write_targets
from taskserver.observability.loopwatch import LoopWatch
from taskserver.observability.metrics import DECLARED, ClientMetrics, of_tally, registry_of
from taskserver.observability.serving import CONNECTIONS, PageServer, health_page, metrics_page
from taskserver.observability.tally import Submissions, Tally
from tests.patience import PATIENCE

ROOT = Path(__file__).parents[2]
NAMES = {name for each in DECLARED for name in each.names}


def job(queue: str = "q", ready_ms: int = 1_000, claimed_ms: int = 3_000) -> ClaimedJob:
    return ClaimedJob(queue, "k", 1, claimed_ms + 1, None, b"", b"normal/%d-0" % ready_ms)


def test_the_wait_is_from_when_a_job_was_ready_until_its_claim_by_the_brokers_clock() -> None:
    assert job().waited == 2.0
    assert job(ready_ms=5_000).waited == 0.0


def test_a_tally_becomes_counters_and_histograms() -> None:
    tally = Tally(["q"], ["add"], (1.0, 10.0))
    series = tally.start(job(), "add")
    series.end("succeeded", 1.0)
    tally.start(job(), "add").end("retried", 20.0)
    tally.count_dead("q", "add")
    registry = registry_of(lambda: of_tally(tally), process=False)

    def read(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"taskserver_{name}", {"queue": "q", "tool": "add", **labels})

    assert read("jobs_started_total") == 2
    assert [read(f"jobs_{how}_total") for how in ("succeeded", "failed", "retried", "cancelled", "dead_lettered")] == [
        1, 1, 1, 0, 1,
    ]  # fmt: skip
    assert [read("job_duration_seconds_bucket", le=le) for le in ("1.0", "10.0", "+Inf")] == [1, 1, 2]
    assert read("job_duration_seconds_sum") == 21.0
    assert [read("job_queue_wait_seconds_bucket", le=le) for le in ("1.0", "10.0")] == [0, 2]


def test_unknown_names_are_counted_together() -> None:
    tally = Tally(["q"], ["add"])
    for number in range(1_000):
        tally.start(job(queue=f"q{number}"), f"tool{number}")
    assert set(tally.series) == {("q", "add"), ("other", "other")}
    some = Submissions()
    for number in range(1_000):
        some.add("q", f"tool{number}")
    assert len(some.counts) == 501
    assert sum(some.counts.values()) == 1_000


def test_a_client_counts_into_the_registry_of_its_program() -> None:
    from prometheus_client import CollectorRegistry

    registry, metrics = CollectorRegistry(), ClientMetrics()
    registry.register(metrics)
    metrics.add("q", "add", 2)
    assert registry.get_sample_value("taskserver_jobs_submitted_total", {"queue": "q", "tool": "add"}) == 2


@pytest.mark.parametrize(
    "text", ["", "a", "0,1", "2,1", "1,1", "1,inf", "1,nan", "-1", ",".join(map(str, range(1, 60)))]
)
def test_invalid_buckets_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="seconds"):
        parse_buckets(text)


def test_buckets_are_seconds_separated_by_commas() -> None:
    assert parse_buckets("0.01, 1,30") == (0.01, 1.0, 30.0)


def test_the_dashboard_shows_only_what_is_declared() -> None:
    board = json.loads((ROOT / "docker" / "grafana" / "taskserver.json").read_text())
    used = set(re.findall(r"taskserver_\w+", " ".join(t["expr"] for p in board["panels"] for t in p["targets"])))
    assert used
    assert used <= NAMES


def test_alerts_are_about_what_is_declared() -> None:
    rules = (ROOT / "docker" / "prometheus" / "alerts.yml").read_text()
    used = set(re.findall(r"\btaskserver_\w+", rules))
    assert used
    assert used <= NAMES


def test_every_alert_is_tested_with_its_source_and_without() -> None:
    folder = ROOT / "docker" / "prometheus"
    (rules,) = yaml.safe_load((folder / "alerts.yml").read_text())["groups"]
    alerts = {rule["alert"] for rule in rules["rules"]}
    with_source, without = yaml.safe_load((folder / "alerts_test.yml").read_text())["tests"]
    tested = [*with_source["alert_rule_test"], *without["alert_rule_test"]]
    assert {each["alertname"] for each in tested if each["exp_alerts"]} == alerts
    assert {each["alertname"] for each in without["alert_rule_test"]} == alerts


def test_no_label_is_one_that_prometheus_sets_itself() -> None:
    set_by_prometheus = {"job", "instance", "namespace", "pod", "container", "endpoint", "service", "node"}
    assert not [each.title for each in DECLARED if set_by_prometheus & set(each.labels)]


def test_the_page_documents_every_metric_as_declared() -> None:
    rows = set(re.findall(r"^\| `(taskserver_\w+)` \| (\w+) \| .* \| (.*) \|$", _page(), re.MULTILINE))
    assert rows == {(each.title, each.kind.name, each.help.replace("|", "\\|")) for each in DECLARED}


def _page() -> str:
    return (ROOT / "docs" / "monitoring.md").read_text()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed: apt-get install prometheus")
@pytest.mark.parametrize("what", [("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")])
def test_prometheus_accepts_the_alerts_and_they_fire_when_they_should(what: tuple[str, ...]) -> None:
    done = subprocess.run(["promtool", *what], cwd=ROOT / "docker" / "prometheus", capture_output=True, text=True)
    assert done.returncode == 0, done


def test_targets_are_written_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "targets.json"
    write_targets(path, {"b": ("::1", 2), "a": ("127.0.0.1", 1)}, {"task_server": "s"})
    assert json.loads(path.read_text()) == [
        {"targets": ["127.0.0.1:1"], "labels": {"task_server": "s", "replica": "a"}},
        {"targets": ["[::1]:2"], "labels": {"task_server": "s", "replica": "b"}},
    ]
    assert list(tmp_path.iterdir()) == [path]
    remove_targets(path)
    remove_targets(path)
    with pytest.raises(ConfigError, match="could not write"):
        write_targets(tmp_path / "none" / "targets.json", {})


@pytest.fixture
def server() -> Iterator[PageServer]:
    def broken(_: object) -> None:
        raise ValueError("broken")

    pages = {
        "/metrics": metrics_page(registry_of(lambda: of_tally(Tally(["q"], ["add"])), process=False)),
        "/healthz": health_page(lambda: ""),
        "/readyz": health_page(lambda: "starting"),
        "/broken": broken,
    }
    server = PageServer("127.0.0.1", 0, pages)  # type: ignore[arg-type]
    server.start()
    yield server
    server.close()


def ask(server: PageServer, path: str, method: str = "GET", **headers: str) -> tuple[int, str, str]:
    asked = urllib.request.Request(server.url + path, method=method, headers=headers)
    try:
        with urllib.request.urlopen(asked, timeout=PATIENCE) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


def test_pages_are_served_by_path_and_in_the_requested_format(server: PageServer) -> None:
    assert ask(server, "/metrics")[1].startswith("text/plain")
    status, kind, text = ask(server, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert (status, kind.split(";")[0], text.endswith("# EOF\n")) == (200, "application/openmetrics-text", True)
    assert ask(server, "/healthz")[::2] == (200, "ok\n")
    assert ask(server, "/readyz")[::2] == (503, "starting\n")
    assert ask(server, "/metrics", "HEAD")[::2] == (200, "")
    assert ask(server, "/elsewhere")[0] == 404
    assert ask(server, "/broken")[0] == 500


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "NONSENSE"])
def test_only_reading_is_allowed(server: PageServer, method: str) -> None:
    assert ask(server, "/metrics", method)[0] == 405


@pytest.mark.parametrize("sent", [b"\xff\x00\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"a" * 100_000, b""])
def test_invalid_requests_do_not_stop_it(server: PageServer, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as stranger:
        try:
            stranger.sendall(sent)
            stranger.shutdown(socket.SHUT_WR)
            stranger.recv(1000)
        except OSError:
            pass
    assert ask(server, "/healthz")[0] == 200


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost: "], ids=["silent", "unfinished"])
def test_connections_that_are_only_held_do_not_keep_health_checks_out(server: PageServer, sent: bytes) -> None:
    with ExitStack() as stack:
        held = []
        for _ in range(3 * CONNECTIONS):
            stranger = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
            held.append(stack.enter_context(stranger))
            stranger.sendall(sent)
            assert ask(server, "/healthz")[0] == 200
        for stranger in held:  # nor may they stay
            with suppress(ConnectionError):
                assert stranger.recv(1) == b""


def test_a_port_in_use_is_one_sentence(server: PageServer) -> None:
    with pytest.raises(ConfigError, match=f"port {server.port} of 127.0.0.1: address already in use"):
        PageServer("127.0.0.1", server.port, {})


async def test_a_blocked_loop_is_noticed() -> None:
    watch = LoopWatch(asyncio.get_running_loop())
    watch.ask()
    assert watch.silence > 0
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert watch.silence == 0
