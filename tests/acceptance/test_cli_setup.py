"""``taskserver setup``: a file as manifests, printed, in a folder, or handed to kubectl; and what pods run."""

from __future__ import annotations

import json
import signal
import sys
import urllib.request
from pathlib import Path

import yaml

from tests.acceptance.cli import Cli
from tests.acceptance.fleet import eventually
from tests.patience import PATIENCE

FILE = """\
broker: {name: redis, url: "${URL}"}
task_server:
  name: task_server
  replicas: 2
  concurrency_per_replica: 1
  broker_resource_name: redis
  tools: [{module: agent_tools}]
  env: {API_KEY: "${KEY}"}
  kubernetes: {image: reg/agent:1, egress: any}
"""
SETUP = ("setup", "--config-file", "config.yaml")

KUBECTL = f"""#!{sys.executable}
import json, os, sys
if "get" in sys.argv:
    kinds = sys.argv[sys.argv.index("get") + 1]
    found = json.loads(os.environ.get("FOUND", "{{}}")).get(kinds)
    print(json.dumps({{"items": found}}))
    sys.exit(found is None)
with open("kubectl.json", "w") as file:
    json.dump({{"arguments": sys.argv[1:], "input": sys.stdin.read()}}, file)
print("deployment.apps/task-server serverside-applied")
sys.stderr.write(os.environ.get("COMPLAINT", ""))
sys.exit(3 if "COMPLAINT" in os.environ else 0)
"""


def write(cli: Cli, text: str = FILE) -> None:
    (cli.folder / "config.yaml").write_text(text)


def kubectl(cli: Cli) -> dict[str, str]:
    """An environment in which kubectl is a program that records its arguments and input."""
    folder = cli.folder / "bin"
    folder.mkdir()
    (folder / "kubectl").write_text(KUBECTL)
    (folder / "kubectl").chmod(0o755)
    return {"PATH": str(folder)}


def test_the_manifests_are_printed_and_all_else_goes_to_stderr(cli: Cli) -> None:
    write(cli)
    done = cli.ok(*SETUP, "-n", "lab", "--cluster-name", "production", URL="hidden", KEY="hidden")
    kinds = [each["kind"] for each in yaml.safe_load_all(done.out)]
    assert kinds.count("Deployment") == 2
    assert "hidden" not in done.out + done.err
    assert "kubectl create secret generic redis-broker -n lab" in done.err
    assert "nothing was applied to production: add --apply to do so" in done.err
    assert cli.ok(*SETUP, "-n", "lab").out == done.out


def test_a_folder_for_kustomize_leaves_alone_what_is_somebody_elses(cli: Cli) -> None:
    write(cli)
    assert cli.ok(*SETUP, "-n", "lab", "--output", "k8s").out == ""
    folder = cli.folder / "k8s"
    assert {path.name for path in folder.iterdir()} == {"kustomization.yaml", "task-server.yaml", "redis-metrics.yaml"}
    index = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert (index["namespace"], index["resources"]) == ("lab", ["task-server.yaml", "redis-metrics.yaml"])
    write(cli, FILE.replace("name: task_server", "name: agents"))
    again = cli.ok(*SETUP, "--output", "k8s")
    assert "task-server.yaml in k8s is no longer part of the file: remove it" in again.err
    (folder / "agents.yaml").write_text("mine: 1\n")
    refused = cli.run(*SETUP, "--output", "k8s")
    assert (refused.code, refused.err) == (
        2,
        "taskserver: agents.yaml in k8s was not written by taskserver setup: choose another folder with --output, "
        "or remove the file\n",
    )
    assert (folder / "agents.yaml").read_text() == "mine: 1\n"


def test_apply_hands_everything_to_kubectl_and_shows_what_it_says(cli: Cli) -> None:
    write(cli)
    done = cli.ok(*SETUP, "--cluster-name", "production", "--namespace", "lab", "--apply", **kubectl(cli))
    assert done.out == "deployment.apps/task-server serverside-applied\n"
    heard = json.loads((cli.folder / "kubectl.json").read_text())
    assert heard["arguments"] == [
        "--context=production", "--namespace=lab", "apply", "--server-side", "--field-manager=taskserver", "-f", "-"
    ]  # fmt: skip
    assert heard["input"].rstrip() == cli.ok(*SETUP, "-n", "lab").out.rstrip()


def test_what_an_earlier_file_has_left_behind_is_listed_with_the_command_that_deletes_it(cli: Cli) -> None:
    write(cli)
    rendered = list(yaml.safe_load_all(cli.ok(*SETUP).out))

    def labelled(kind: str, name: str, instance: str) -> dict[str, object]:
        labels = {"app.kubernetes.io/instance": instance}
        return {"kind": kind, "metadata": {"name": name, "labels": labels}}

    found = {
        "deployments,services,configmaps,networkpolicies,poddisruptionbudgets,horizontalpodautoscalers": [
            *rendered,
            labelled("ConfigMap", "task-server-0123456789", "task-server"),  # a rollback may need it
            labelled("ConfigMap", "old-0123456789", "old"),
            labelled("Deployment", "old", "old"),
            labelled("HorizontalPodAutoscaler", "task-server", "task-server"),
        ],
        "servicemonitors.monitoring.coreos.com": [labelled("ServiceMonitor", "old", "old")],
    }
    apply = (*SETUP, "--cluster-name", "production", "-n", "lab", "--apply")
    done = cli.ok(*apply, FOUND=json.dumps(found), **kubectl(cli))
    assert done.err.endswith(
        "note: these objects are not part of this file; if no other file has them, delete them:\n"
        "  kubectl --context=production --namespace=lab delete configmap/old-0123456789 deployment/old "
        "horizontalpodautoscaler/task-server servicemonitor/old\n"
    )


def test_a_kubectl_that_fails_or_is_missing_is_one_clear_error(cli: Cli) -> None:
    write(cli)
    env = kubectl(cli)
    complaint = 'resource mapping not found: no matches for kind "ServiceMonitor"\n'
    failed = cli.run(*SETUP, "--cluster-name", "production", "--apply", COMPLAINT=complaint, **env)
    assert failed.code == 1
    assert failed.err.endswith(
        complaint + "taskserver: kubectl failed with exit code 3: the cluster has no ServiceMonitor; install the "
        "Prometheus operator, or write service_monitor: false under kubernetes\n"
    )
    missing = cli.run(*SETUP, "--cluster-name", "production", "--apply", PATH=str(cli.folder))
    assert missing.code == 2
    assert missing.err.endswith(
        "taskserver: kubectl is not installed: install it, or apply the printed manifests on another machine\n"
    )


def test_bad_input_is_refused_before_anything_is_done(cli: Cli) -> None:
    write(cli, FILE.replace("replicas: 2", "replicas: 0").replace("reg/agent:1", "''"))
    assert cli.run(*SETUP, "--output", "k8s").err == (
        "taskserver: 2 errors in config.yaml:\n"
        "config.yaml:4: task_server.replicas: must be at least 1, not 0\n"
        "config.yaml:9: task_server.kubernetes.image: is empty: write a value, or remove the key\n"
    )
    assert not (cli.folder / "k8s").exists()
    write(cli)
    for arguments, message in (
        (("--apply",), "--apply requires --cluster-name"),
        (("-n", "My_Space"), "'My_Space' is not a valid namespace"),
        (("--output", "config.yaml"), "cannot write to config.yaml: file exists"),
    ):
        done = cli.run(*SETUP, *arguments)
        assert (done.code, done.out) == (2, "")
        assert message in done.err


def test_what_the_pods_run_runs(cli: Cli) -> None:
    """The command and the file of each pod, with the broker in the variable that comes from the Secret."""
    write(cli)
    url = cli.env["TASKSERVER_BROKER_URL"]
    pods = {}
    for each in yaml.safe_load_all(cli.ok(*SETUP).out):
        if each["kind"] == "ConfigMap":
            (cli.folder / each["metadata"]["name"].rpartition("-")[0]).write_text(
                each["data"]["config.yaml"].replace("metrics_port: 9101", "metrics_port: 0")
            )
        if each["kind"] == "Deployment":
            (container,) = each["spec"]["template"]["spec"]["containers"]
            pods[each["metadata"]["name"]] = container["command"]
    program, *arguments = pods["task-server"]
    assert program == "taskserver"
    mine = [each.replace("/etc/taskserver/config.yaml", "task-server") for each in arguments]
    worker = cli.start(*mine, URL=url, KEY="secret")
    assert "1 slot" in worker.wait_for("is ready")
    assert cli.ok("submit", "add", "a=1", "--wait").out == "2\n"
    _, *arguments = [each.replace("/etc/taskserver/config.yaml", "redis-metrics") for each in pods["redis-metrics"]]
    gauges = cli.ok(*arguments, "--once", URL=url).out
    assert 'taskserver_queue_backlog{queue="default"} 0.0' in gauges
    assert "taskserver_workers 1.0" in gauges


def discovered(targets: Path) -> list[str]:
    """The addresses that the file tells Prometheus."""
    return [each for group in json.loads(targets.read_text()) for each in group["targets"]]


def test_up_serves_the_metrics_and_tells_prometheus_where(cli: Cli) -> None:
    write(cli, FILE.replace("  env:", "  metrics_host: localhost\n  metrics_targets: targets.json\n  env:"))
    up = cli.start("up", "--config-file", "config.yaml", URL=cli.env["TASKSERVER_BROKER_URL"], KEY="secret")
    up.wait_for("config.yaml is up")
    targets = cli.folder / "targets.json"
    eventually(lambda: len(discovered(targets)) == 2)
    for address in discovered(targets):
        assert address.startswith("localhost:")
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=PATIENCE) as answer:
            assert "taskserver_replica_slots 1.0" in answer.read().decode()
    up.signal(signal.SIGTERM)
    assert up.end().code == 0
    assert not targets.exists()


def test_up_starts_nothing_where_the_targets_cannot_be_written(cli: Cli) -> None:
    write(cli, FILE.replace("  env:", "  metrics_targets: nowhere/targets.json\n  env:"))
    done = cli.run("up", "--config-file", "config.yaml", URL=cli.env["TASKSERVER_BROKER_URL"], KEY="secret")
    assert done.code == 2
    assert "could not write the targets for Prometheus to" in done.err
    assert cli.ok("worker", "status", "--json").json == []


def test_a_worker_by_the_file_tells_them_too(cli: Cli) -> None:
    write(cli, FILE.replace("  env:", "  metrics_targets: targets.json\n  env:").replace("replicas: 2", "replicas: 1"))
    worker = cli.start("worker", "--config-file", "config.yaml", URL=cli.env["TASKSERVER_BROKER_URL"], KEY="secret")
    worker.wait_for("is ready")
    eventually(lambda: len(discovered(cli.folder / "targets.json")) == 1)


def test_metrics_of_the_embedded_broker_of_a_file(cli: Cli) -> None:
    """Not those of the broker that the environment names."""
    write(cli, "broker: {data: mine}\ntask_server: {queues: own}\n")
    cli.submit("add", "a=1")
    assert "taskserver_queues 0.0" in cli.ok("metrics", "--config-file", "config.yaml", "--once").out
    assert (cli.folder / "mine").is_dir()
