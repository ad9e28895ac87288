"""From a configuration file to manifests: valid for real Kubernetes versions, every key honoured, no secret in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from taskserver.config.file import load
from taskserver.config.settings import settings
from taskserver.deploy import Rendered, as_yaml, load_unresolved, render
from taskserver.deploy.secrets import secret_commands
from taskserver.errors import ConfigError, ConfigFileInvalid
from taskserver.fleet.planning import plan_server

EXAMPLE = Path(__file__).parents[2] / "examples" / "kubernetes.yaml"
VERSIONS = ("1.30", "1.37")
OWN_KINDS = ("ServiceMonitor", "ScaledObject")
"""Kinds of operators; the schemas of Kubernetes do not have them."""

SEED = """
task_server:
  type: redis-streams
  name: task_server
  replicas: 4
  concurrency_per_replica: 1
  broker_resource_name: redis
"""

FULL = """
broker:
  name: main_redis
  url: "rediss://${REDIS_USER:-agents}:${file:secrets/redis password}@redis.databases:6390/2"
  durability: fsync
task_server:
  name: Agents_1
  replicas: ${REPLICAS:-3}
  concurrency_per_replica: 7
  queues: [{name: fast, weight: 3}, {name: slow.jobs, concurrency: 2}]
  tools: [{module: my_agent.tools, class: Search, name: find}, /app/tools.py]
  lease: 20
  grace_period: 90.5
  unknown_tool_wait: 5
  max_message_bytes: 1MB
  max_jobs: 1000
  max_rss: 1GB
  signing_keys: [file:keys/new, "env:OLD_KEY"]
  loglevel: debug
  log_format: json
  metrics_port: 9200
  metrics_targets: targets.json
  env: {API_KEY: "${API_KEY}", PRICE: "5$$", GREETING: hello, ZIP: 01234, VERSION: 1.10}
  kubernetes:
    image: "reg/agents:${TAG}"
    resources: {requests: {cpu: 2, memory: 1Gi}, limits: {cpu: 2, memory: 1Gi}}
    service_account: agents
    image_pull_secrets: [pull-1]
    node_selector: {disk: ssd}
    tolerations: [{key: gpu, value: 1, effect: NoSchedule}, {key: spot}]
    max_surge: 2
    tmp_size: 5Gi
    ingress_namespaces: monitoring
    egress_ports: 443
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Sets variables as whoever runs the command has them."""

    def put(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        settings.cache_clear()

    yield put
    monkeypatch.undo()
    settings.cache_clear()


def rendered(text: str, *, image: str | None = "reg/a:1", namespace: str | None = None) -> Rendered:
    Path("config.yaml").write_text(text)
    return render(load_unresolved("config.yaml"), image=image, modules=("my.tools",), namespace=namespace)


def refused(text: str, **rest: Any) -> list[str]:
    with pytest.raises(ConfigFileInvalid) as caught:
        rendered(text, **rest)
    return [f"{problem.line}: {problem.key}: {problem.text}" for problem in caught.value.problems]


def one(found: Rendered, kind: str, name: str) -> dict[str, Any]:
    """An object by its kind and name; the name of a ConfigMap continues with a digest of its content."""
    (made,) = [
        each
        for each in found.manifests
        if each["kind"] == kind
        and name == (each["metadata"]["name"].rpartition("-")[0] if kind == "ConfigMap" else each["metadata"]["name"])
    ]
    return made


def pod(found: Rendered, name: str) -> dict[str, Any]:
    made: dict[str, Any] = one(found, "Deployment", name)["spec"]["template"]["spec"]
    return made


def own_file(found: Rendered, name: str) -> dict[str, Any]:
    made: dict[str, Any] = yaml.safe_load(one(found, "ConfigMap", name)["data"]["config.yaml"])
    return made


def scaled(bounds: str) -> str:
    return SEED + f"  queues: [a.b, c]\n  kubernetes: {{autoscaling: {{{bounds}}}}}\n"


KEDA = "scaler: keda, min: 0, max: 9, prometheus: 'http://prometheus:9090'"


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("text", [SEED, FULL, scaled("max: 9"), scaled(KEDA), EXAMPLE.read_text()],
                         ids=["seed", "full", "hpa", "keda", "example"])  # fmt: skip
def test_the_manifests_fit_the_schemas_of_kubernetes(text: str, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAG", "2")
    documents = list(yaml.safe_load_all(as_yaml(*rendered(text, namespace="agents").manifests)))
    checked = [each for each in documents if each["kind"] not in OWN_KINDS]
    for each in checked:
        kubernetes_validate.validate(each, version, strict=True)
    assert {"ConfigMap", "Deployment", "Service", "NetworkPolicy", "PodDisruptionBudget"} <= {
        each["kind"] for each in checked
    }


def test_the_seeds_example() -> None:
    found = rendered(SEED)
    assert list(found.groups) == ["task-server", "redis-metrics"]
    made = one(found, "Deployment", "task-server")["spec"]
    assert made["replicas"] == 4
    assert made["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    (container,) = pod(found, "task-server")["containers"]
    assert container["resources"] == {
        "requests": {"cpu": "500m", "memory": "512Mi"},
        "limits": {"cpu": "1000m", "memory": "1024Mi"},
    }
    assert container["env"] == [
        {
            "name": "TASKSERVER_BROKER_URL",
            "valueFrom": {"secretKeyRef": {"name": "redis-broker", "key": "TASKSERVER_BROKER_URL"}},
        }
    ]
    assert own_file(found, "task-server")["task_server"]["concurrency_per_replica"] == 1


def test_the_same_file_is_the_same_bytes() -> None:
    assert as_yaml(*rendered(EXAMPLE.read_text()).manifests) == as_yaml(*rendered(EXAMPLE.read_text()).manifests)


def test_pods_may_do_nothing_that_they_need_not() -> None:
    found = rendered(EXAMPLE.read_text())
    for name in ("agents", "reports", "redis-metrics"):
        made = pod(found, name)
        assert made["automountServiceAccountToken"] is False
        assert made["securityContext"]["runAsNonRoot"] is True
        assert made["securityContext"]["runAsUser"] == 10001
        assert made["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert made["containers"][0]["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert one(found, "NetworkPolicy", name)["spec"]["ingress"] == [
            {"ports": [{"protocol": "TCP", "port": 9100 if name == "redis-metrics" else 9101}]}
        ]


def test_probes_ask_for_what_they_mean() -> None:
    (container,) = pod(rendered(SEED), "task-server")["containers"]
    assert container["ports"] == [{"name": "metrics", "containerPort": 9101}]
    asked = {name: container[name]["httpGet"]["path"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert asked == {"startupProbe": "/healthz", "readinessProbe": "/readyz", "livenessProbe": "/healthz"}


def test_every_key_of_the_file_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAG", "2")
    found = rendered(FULL, image=None)
    made, own = pod(found, "agents-1"), own_file(found, "agents-1")
    (container,) = made["containers"]
    assert own["broker"] == {
        "name": "main_redis",
        "url": "rediss://${REDIS_USER:-agents}:${file:/run/secrets/taskserver/main-redis-broker/redis-password}"
        "@redis.databases:6390/2",
        "durability": "fsync",
    }
    assert own["task_server"] == {
        "name": "Agents_1",
        "replicas": 1,
        "concurrency_per_replica": 7,
        "queues": [{"name": "fast", "weight": 3}, {"name": "slow.jobs", "concurrency": 2}],
        "tools": [{"module": "my_agent.tools", "class": "Search", "name": "find"}, {"module": "/app/tools.py"}],
        "lease": 20,
        "grace_period": 90.5,
        "unknown_tool_wait": 5,
        "max_message_bytes": 1_000_000,
        "max_jobs": 1000,
        "max_rss": 1_000_000_000,
        "signing_keys": ["file:/run/secrets/taskserver/agents-1/new", "env:OLD_KEY"],
        "loglevel": "debug",
        "log_format": "json",
        "metrics_port": 9200,
        "metrics_host": "0.0.0.0",
        "env": {"API_KEY": "${API_KEY}", "PRICE": "5$$", "GREETING": "hello", "ZIP": "01234", "VERSION": "1.10"},
    }
    assert one(found, "Deployment", "agents-1")["spec"]["replicas"] == 3
    assert container["image"] == "reg/agents:2"
    assert container["ports"][0]["containerPort"] == 9200
    assert container["resources"]["limits"] == {"cpu": "2", "memory": "1Gi"}
    assert made["terminationGracePeriodSeconds"] > 91
    assert (made["serviceAccountName"], made["nodeSelector"]) == ("agents", {"disk": "ssd"})
    assert made["imagePullSecrets"] == [{"name": "pull-1"}]
    assert made["tolerations"] == [
        {"key": "gpu", "operator": "Equal", "value": "1", "effect": "NoSchedule"},
        {"key": "spot", "operator": "Exists"},
    ]
    assert {"name": "tmp", "emptyDir": {"sizeLimit": "5Gi"}} in made["volumes"]
    strategy = one(found, "Deployment", "agents-1")["spec"]["strategy"]
    assert strategy["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 2}
    assert one(found, "NetworkPolicy", "agents-1")["spec"]["ingress"] == [
        {
            "ports": [{"protocol": "TCP", "port": 9200}],
            "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        }
    ]
    out = one(found, "NetworkPolicy", "agents-1")["spec"]["egress"]
    assert [port["port"] for port in out[1]["ports"]] == [6390, 443]
    assert any("metrics_targets" in message for message in found.notes)


def test_the_configuration_of_a_pod_means_what_the_file_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file in the ConfigMap is loaded as a worker loads it, and means the same."""
    monkeypatch.setenv("TAG", "2")
    found = rendered(FULL)
    Path("keys").mkdir()
    for name in ("OLD_KEY", "API_KEY"):
        monkeypatch.setenv(name, "x" * 40)
    text = one(found, "ConfigMap", "agents-1")["data"]["config.yaml"]
    Path("redis-password").write_text("p@ss")
    Path("pod.yaml").write_text(text.replace("/run/secrets/taskserver/main-redis-broker/", ""))
    config = load("pod.yaml")
    made = plan_server(config, config.task_server(None), alone=True)
    assert made.url == "rediss://agents:p%40ss@redis.databases:6390/2"
    assert made.assignment.worker.shares[1][:3] == ("slow.jobs", 1, 2)
    assert made.assignment.environment["PRICE"] == "5$"
    assert (made.assignment.metrics_host, made.assignment.metrics_port) == ("0.0.0.0", 9200)


def test_secrets_are_references_and_the_commands_that_make_them_have_no_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("REDIS_USER", "API_KEY", "OLD_KEY"):
        monkeypatch.setenv(name, "hush-hush")
    monkeypatch.setenv("TAG", "2")
    Path("secrets").mkdir()
    Path("secrets/redis password").write_text("hush-hush")
    found = rendered(FULL)
    commands = secret_commands(found.secrets, "lab")
    assert "hush-hush" not in as_yaml(*found.manifests) + "".join(commands)
    assert commands == [
        "kubectl create secret generic agents-1 -n lab "
        '--from-file=API_KEY=<(printf %s "$API_KEY") --from-file=new=keys/new '
        '--from-file=OLD_KEY=<(printf %s "$OLD_KEY")',
        "kubectl create secret generic main-redis-broker -n lab "
        "--from-file=REDIS_USER=<(printf %s \"$REDIS_USER\") --from-file=redis-password='secrets/redis password'",
    ]
    environment = {
        each["name"]: each["valueFrom"]["secretKeyRef"] for each in pod(found, "agents-1")["containers"][0]["env"]
    }
    assert environment["REDIS_USER"] == {"name": "main-redis-broker", "key": "REDIS_USER", "optional": True}
    assert environment["OLD_KEY"] == {"name": "agents-1", "key": "OLD_KEY"}
    mounted = {
        v["secret"]["secretName"]: v["secret"]["items"] for v in pod(found, "agents-1")["volumes"] if "secret" in v
    }
    assert mounted == {
        "agents-1": [{"key": "new", "path": "new"}],
        "main-redis-broker": [{"key": "redis-password", "path": "redis-password"}],
    }
    assert "agents-1" not in str(pod(found, "main-redis-metrics"))  # each pod has what it needs, and no more


def test_two_task_servers_share_a_broker_and_its_metrics() -> None:
    found = rendered(EXAMPLE.read_text())
    assert list(found.groups) == ["agents", "reports", "redis-metrics"]
    assert "replicas" not in one(found, "Deployment", "reports")["spec"]
    assert [m["kind"] for m in found.groups["redis-metrics"]] == [
        "ConfigMap", "Deployment", "Service", "NetworkPolicy", "ServiceMonitor"
    ]  # fmt: skip
    assert own_file(found, "agents").keys() == {"broker", "task_server"}
    assert own_file(found, "agents")["task_server"]["name"] == "agents"


def test_an_autoscaler_follows_waiting_delayed_and_running_jobs() -> None:
    spec = one(rendered(scaled("min: 2, max: 9, lag: 5")), "HorizontalPodAutoscaler", "task-server")["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 9)
    figures = [each["external"] for each in spec["metrics"]]
    assert [(each["metric"]["name"], each["target"]["averageValue"]) for each in figures] == [
        ("taskserver_queue_backlog", "5"),
        ("taskserver_queue_running", "1"),
    ]
    assert figures[0]["metric"]["selector"] == {
        "matchLabels": {"broker": "redis"},
        "matchExpressions": [{"key": "queue", "operator": "In", "values": ["a.b", "c"]}],
    }


def test_keda_asks_prometheus_for_the_same() -> None:
    made = one(rendered(scaled(KEDA), namespace="lab"), "ScaledObject", "task-server")
    assert made["apiVersion"] == "keda.sh/v1alpha1"
    assert made["spec"]["scaleTargetRef"] == {"name": "task-server"}
    assert (made["spec"]["minReplicaCount"], made["spec"]["maxReplicaCount"]) == (0, 9)
    assert made["spec"]["triggers"][0] == {
        "type": "prometheus",
        "metadata": {
            "serverAddress": "http://prometheus:9090",
            "query": 'sum(taskserver_queue_backlog{broker="redis",queue=~"a[.]b|c",namespace="lab"})',
            "threshold": "10",
            "ignoreNullValues": "false",
        },
    }


def grace_and_slots(found: Rendered) -> tuple[int, str]:
    """Seconds that a pod has to end, and slots of each pod by which the autoscaler counts."""
    metrics = one(found, "HorizontalPodAutoscaler", "task-server")["spec"]["metrics"]
    target: str = metrics[1]["external"]["target"]["averageValue"]
    return pod(found, "task-server")["terminationGracePeriodSeconds"], target


def test_what_the_file_leaves_open_is_rendered_as_the_environment_says(environment: Callable[..., None]) -> None:
    text = "task_server:\n  kubernetes: {autoscaling: {max: 9}}\n"
    plain = rendered(text)
    grace, slots = grace_and_slots(plain)
    assert slots == "4"
    own = own_file(plain, "task-server")["task_server"]
    assert (own["concurrency"], own["grace_period"], own["queues"]) == (4, 30, [{"name": "default"}])
    environment(TASKSERVER_GRACE_PERIOD="68s", TASKSERVER_CONCURRENCY="20", TASKSERVER_QUEUE="mail",
                TASKSERVER_LEASE="9", TASKSERVER_METRICS_PORT="1", TASKSERVER_SIGNING_KEYS="file:k")  # fmt: skip
    found = rendered(text)
    assert grace_and_slots(found) == (grace + 38, "20")
    own = own_file(found, "task-server")["task_server"]
    assert (own["concurrency"], own["grace_period"], own["lease"], own["metrics_port"]) == (20, 68, 9, 9101)
    for name in ("task-server", "redis-metrics"):
        assert own_file(found, name)["task_server"]["queues"] in (["mail"], [{"name": "mail"}])
    assert found.notes[1:6] == [
        "concurrency of task_server is 20, as TASKSERVER_CONCURRENCY says in this environment",
        "grace_period of task_server is 68, as TASKSERVER_GRACE_PERIOD says in this environment",
        "lease of task_server is 9, as TASKSERVER_LEASE says in this environment",
        "queue of task_server is mail, as TASKSERVER_QUEUE says in this environment",
        "pods do not get TASKSERVER_SIGNING_KEYS from this environment: write in the file what they need",
    ]
    assert grace_and_slots(rendered(scaled("max: 9") + "  grace_period: 30\n")) == (grace, "1")


def test_a_wrong_variable_is_told_by_its_name(environment: Callable[..., None]) -> None:
    environment(TASKSERVER_CONCURRENCY="many")
    with pytest.raises(ConfigError, match="environment variable TASKSERVER_CONCURRENCY"):
        rendered("task_server: {}\n")
    assert rendered(SEED)  # it states its own


def test_a_service_monitor_finds_the_services_pods() -> None:
    found = rendered(SEED)
    for name, job in (("task-server", "taskserver"), ("redis-metrics", "taskserver-cluster")):
        made = one(found, "ServiceMonitor", name)
        assert made["apiVersion"] == "monitoring.coreos.com/v1"
        (endpoint,) = made["spec"]["endpoints"]
        assert endpoint["port"] == one(found, "Service", name)["spec"]["ports"][0]["name"]
        assert (
            made["spec"]["selector"]["matchLabels"].items() <= one(found, "Service", name)["metadata"]["labels"].items()
        )
        assert {"targetLabel": "job", "replacement": job} in endpoint["relabelings"]
        assert {"targetLabel": "broker", "replacement": "redis"} in endpoint["relabelings"]


def test_without_the_operator_there_is_none_and_no_process_for_it() -> None:
    found = rendered(SEED + "  kubernetes: {service_monitor: false, egress: any}\n")
    assert list(found.groups) == ["task-server"]
    assert "ServiceMonitor" not in {each["kind"] for each in found.manifests}
    assert one(found, "NetworkPolicy", "task-server")["spec"]["egress"] == [{}]


def test_another_configuration_is_another_object_that_replaces_the_pods() -> None:
    def mounted(text: str) -> str:
        found = rendered(text)
        made = one(found, "ConfigMap", "task-server")
        (name,) = [each["configMap"]["name"] for each in pod(found, "task-server")["volumes"] if "configMap" in each]
        assert (made["metadata"]["name"], made["immutable"]) == (name, True)
        return str(name)

    assert mounted(SEED) != mounted(SEED + "  lease: 20\n")
    assert mounted(SEED) == mounted(SEED.replace("replicas: 4", "replicas: 5"))


def test_a_drain_of_nodes_does_not_wait_for_pods_that_take_no_jobs() -> None:
    spec = one(rendered(SEED), "PodDisruptionBudget", "task-server")["spec"]
    assert (spec["maxUnavailable"], spec["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")


@pytest.mark.parametrize(("most", "told"), [("1GB", False), ("1GiB", True), ("2GB", True)])
def test_a_worker_is_replaced_before_its_pod_is_killed(most: str, told: bool) -> None:
    found = rendered(SEED + f"  max_rss: {most}\n")
    assert any("is not below the memory limit of 1024Mi" in note for note in found.notes) is told


@pytest.mark.parametrize(("surge", "fewer"), [("25%", 0), ("1", 0), ("100%", 0), ("0", 1), ("0%", 1)])
def test_a_rollout_always_has_a_way(surge: str, fewer: int) -> None:
    found = rendered(SEED + f"  kubernetes: {{max_surge: {surge}}}\n")
    made = one(found, "Deployment", "task-server")["spec"]["strategy"]["rollingUpdate"]
    assert (str(made["maxSurge"]), made["maxUnavailable"]) == (surge, fewer)


def test_two_pods_never_serve_the_metrics_of_one_broker() -> None:
    assert one(rendered(SEED), "Deployment", "redis-metrics")["spec"]["strategy"] == {"type": "Recreate"}


def test_the_metrics_of_a_broker_know_the_queues_of_all_its_task_servers() -> None:
    found = rendered("task_server:\n- {name: one, queues: [b, a]}\n- {name: two}\n")
    assert own_file(found, "redis-metrics")["task_server"]["queues"] == ["b", "a", "default"]


BAD = [
    (
        "broker: {}\n" + SEED,
        "1: broker.url: is missing: a cluster cannot reach an embedded broker; write the URL of another one, "
        "such as ${REDIS_URL}",
    ),
    (
        "broker: {url: 'redis://localhost:6379'}\n" + SEED,
        "1: broker.url: is only reachable on this machine: write the address that pods can reach",
    ),
    (
        "broker: {url: 'unix:///run/redis'}\n" + SEED,
        "1: broker.url: is only reachable on this machine: write the address that pods can reach",
    ),
    (
        SEED + "  tools: ./tools.py\n",
        "8: task_server.tools: is a relative path, which pods lack: name a module in the image, such as my.tools",
    ),
    (
        SEED + "  metrics_host: 127.0.0.1\n",
        "8: task_server.metrics_host: must be 0.0.0.0 in pods, so that Prometheus can reach them",
    ),
    (
        SEED.replace("name: task_server", "name: 1_server"),
        "4: task_server.name: '1_server' becomes '1-server' in Kubernetes, where a name must start with a letter "
        "and have at most 63 characters: use a different name",
    ),
    (
        "task_server: [{name: a_b}, {name: a-b}]\n",
        "1: task_server[1].name: becomes 'a-b' in Kubernetes, as another name in this file does: use a different name",
    ),
    (
        scaled("min: 0, max: 2"),
        "9: task_server.kubernetes.autoscaling.min: must be at least 1 with a HorizontalPodAutoscaler: write 1, or "
        "use scaler: keda",
    ),
    (
        scaled("scaler: keda, max: 2"),
        "9: task_server.kubernetes.autoscaling: prometheus is missing: KEDA reads the metrics from it, for "
        "example at http://prometheus-operated.monitoring:9090",
    ),
    (
        SEED + "  signing_keys: [file:a/key, file:b/key]\n",
        "2: task_server: file a/key and file b/key would both be the key 'key' of the Secret task-server: "
        "rename one of them",
    ),
    (
        SEED + "  kubernetes: {resources: {requests: {memory: 2Gi}}}\n",
        "8: task_server.kubernetes.resources: requests 2Gi of memory, above the limit of 1024Mi: raise the limit",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), BAD)
def test_what_cannot_run_in_a_cluster_is_refused_in_a_sentence(text: str, message: str) -> None:
    assert refused(text) == [message]


@pytest.mark.parametrize(
    ("url", "ports", "guessed"),
    [
        ("redis://redis", [6379], False),
        ("rediss://u:${P}@redis:6390/1?ssl_ca_certs=/ca.pem", [6390], False),
        ("redis+cluster://a:7001,b:7002", [7001, 7002], False),
        ("redis+sentinel://a,b:26380/master/0", [26379, 26380, 6379], True),
        ("redis://${HOST}:6390", [6379], True),
        ("${URL}", [6379], True),
        ("${file:/run/url}", [6379], True),
    ],
)
def test_the_way_to_the_broker_is_open(url: str, ports: list[int], guessed: bool) -> None:
    found = rendered(f'broker: {{url: "{url}"}}\n' + SEED)
    for name in ("task-server", "redis-metrics"):
        out = one(found, "NetworkPolicy", name)["spec"]["egress"]
        assert [port["port"] for port in out[1]["ports"]] == ports
    assert any("network policies" in message for message in found.notes) is guessed


def test_an_image_is_needed() -> None:
    assert refused(SEED, image=None) == [
        "2: task_server.kubernetes.image: is missing: name a container image with taskserver and your tools, here or "
        "with --image"
    ]


def test_a_default_that_only_counts_on_one_machine_is_none_for_pods() -> None:
    found = rendered("broker: {url: '${URL:-redis://localhost:6379}'}\n" + SEED)
    assert own_file(found, "task-server")["broker"]["url"] == "${URL}"
