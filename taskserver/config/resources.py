"""The configuration file: every key of its brokers and task servers.

The docstrings of the fields are the reference in docs/configuration.md and the descriptions in the JSON Schema.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from taskserver.config.values import AS_TEXT, DURABILITY, WHOLE, Slots, explained
from taskserver.config.worker_settings import WorkerSettings
from taskserver.domain.durability import Durability
from taskserver.domain.names import check_queue_name, check_tool_name
from taskserver.domain.partitions import MOST_PARTITIONS

_NAME = r"^[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?$"
_QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"
_OBJECT = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"
_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"


def _as_mapping(key: str) -> Callable[[Any], Any]:
    """Take a bare string as a mapping with this one key."""
    return lambda value: {key: value} if isinstance(value, str) else value


def _as_list(value: Any) -> Any:
    """Take a single value as a list of one."""
    return value if value is None or isinstance(value, list) else [value]


Name = Annotated[str, Field(pattern=_NAME)]
Value = Annotated[str, AS_TEXT]
Quantity = Annotated[str, Field(pattern=_QUANTITY), AS_TEXT]
Port = Annotated[int, Field(ge=1, le=65_535), WHOLE]


@dataclass(frozen=True)
class Alias:
    """Marks a key with the same meaning as another one, for files of the system that this one replaces."""

    of: str


class Resource(BaseModel):
    """A part of the file: unknown keys and values of another type are refused."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


class BrokerResource(Resource):
    """A Redis-compatible server. Without a URL it is an embedded one, which runs as long as it is used."""

    name: Name = "redis"
    """Name by which task servers refer to it."""
    type: Literal["redis", "valkey"] = "redis"
    """Kind of server; taskserver treats both alike."""
    url: str | None = None
    """Address: redis://, rediss://, redis+sentinel://, redis+cluster:// or unix://. Passwords by reference only."""
    username: str | None = None
    """User name; it is put into the URL."""
    password: str | None = None
    """Password, by reference: ${NAME} or ${file:/path}; it is put into the URL."""
    data: str | None = None
    """Folder of the embedded broker, relative to the file. By default the project's .taskserver."""
    durability: Annotated[Durability, DURABILITY] | None = None
    """What a submit from a tool has survived: memory, fsync, replicas=N or fsync,replicas=N."""


class QueueResource(Resource):
    """A queue and its share of the slots of each replica."""

    name: Annotated[str, AfterValidator(explained(check_queue_name))]
    """Name of the queue."""
    weight: Annotated[int, Field(ge=1, le=1000), WHOLE] = 1
    """While several queues have jobs waiting, each gets slots in proportion to its weight."""
    concurrency: Slots | None = None
    """Jobs of this queue that run at once in each replica. By default as many as there are slots."""
    partitions: Annotated[int, Field(ge=1, le=MOST_PARTITIONS), WHOLE] | None = None
    """Minimum number of partitions, each with its own hash slot. By default as many as it has, or one."""


class ToolSource(Resource):
    """Where to find tools: all of a module, or one class."""

    module: Annotated[str, Field(min_length=1)]
    """Module, such as my_agent.tools, or path of a .py file, relative to the configuration file."""
    class_: Annotated[str, Field(pattern=_VARIABLE)] | None = Field(default=None, alias="class")
    """Load only this class or function. It does not need the @tool decorator."""
    name: Annotated[str, AfterValidator(explained(check_tool_name))] | None = None
    """Name by which agents call that class. By default the name that it was declared with."""


class Amounts(Resource):
    """Amounts of compute resources."""

    cpu: Quantity | None = None
    """Processor: 500m is half a core."""
    memory: Quantity | None = None
    """Memory: 512Mi."""


class ComputeResources(Resource):
    """Compute resources of each replica in Kubernetes."""

    requests: Amounts = Amounts(cpu="500m", memory="512Mi")
    """Amounts reserved for it."""
    limits: Amounts = Amounts(cpu="1000m", memory="1024Mi")
    """Amounts that it cannot exceed."""


class Autoscaling(Resource):
    """How the number of replicas follows the waiting jobs, in Kubernetes."""

    scaler: Literal["hpa", "keda"] = "hpa"
    """Autoscaler: a HorizontalPodAutoscaler, which needs the Prometheus adapter, or KEDA."""
    min: Annotated[int, Field(ge=0, le=10_000), WHOLE] = 1
    """Minimum number of replicas."""
    max: Annotated[int, Field(ge=1, le=10_000), WHOLE]
    """Maximum number of replicas."""
    lag: Annotated[int, Field(ge=1), WHOLE] = 10
    """Waiting jobs per replica above which another one is started."""
    prometheus: Annotated[str, Field(pattern=r"^https?://\S+$")] | None = None
    """Address at which KEDA reaches Prometheus: http://prometheus-operated.monitoring:9090."""


class Toleration(Resource):
    """A taint that the nodes of the pods may have."""

    key: Annotated[str, Field(min_length=1)]
    """Key of the taint."""
    value: Value | None = None
    """Value of the taint. By default every value."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint. By default every effect."""


class Kubernetes(Resource):
    """Settings that only apply when the task server is rendered for Kubernetes."""

    image: Annotated[str, Field(min_length=1)] | None = None
    """Container image with taskserver and your tools."""
    resources: ComputeResources = ComputeResources()
    """Compute resources of each replica."""
    autoscaling: Autoscaling | None = None
    """Bounds for the number of replicas; without it, the number is fixed."""
    service_monitor: bool = True
    """Create ServiceMonitors, by which the Prometheus operator finds the metrics."""
    egress: Literal["broker", "any"] = "broker"
    """What the pods can connect to: only their broker, DNS and egress_ports, or anything."""
    egress_ports: Annotated[list[Port], BeforeValidator(_as_list, json_schema_input_type=list[Port] | Port)] = []
    """More TCP ports that the pods can connect to, such as 443 for tools that call APIs."""
    ingress_namespaces: Annotated[
        list[Annotated[str, Field(pattern=_OBJECT)]],
        BeforeValidator(_as_list, json_schema_input_type=list[str] | str),
    ] = []
    """Namespaces whose pods can reach the metrics, such as monitoring. By default all."""
    service_account: Annotated[str, Field(pattern=_OBJECT)] | None = None
    """Service account of the pods. By default that of the namespace, without a token."""
    image_pull_secrets: Annotated[
        list[Annotated[str, Field(pattern=_OBJECT)]],
        BeforeValidator(_as_list, json_schema_input_type=list[str] | str),
    ] = []
    """Secrets with which the image is pulled."""
    node_selector: dict[str, Value] = {}
    """Labels that a node must have."""
    tolerations: Annotated[
        list[Toleration], BeforeValidator(_as_list, json_schema_input_type=list[Toleration] | Toleration)
    ] = []
    """Taints that a node may have."""
    max_surge: Annotated[str, Field(pattern=r"^([0-9]+|[0-9]{1,2}%|100%)$"), AS_TEXT] = "25%"
    """Pods in addition to replicas during a rollout: a number or a share. With 0, pods are replaced in place."""
    tmp_size: Quantity = "1Gi"
    """Maximum size of /tmp; a pod that writes more is replaced."""


class _Essentials(Resource):
    """The keys that most files have, listed before the settings."""

    type: Literal["redis-streams"] = "redis-streams"
    """How jobs are queued; redis-streams is the only type."""
    name: Name = "task_server"
    """Name of the task server, unique in the file; commands refer to it."""
    replicas: Annotated[int, Field(ge=1, le=1000), WHOLE] = 1
    """Number of worker processes."""
    concurrency_per_replica: Annotated[Slots | None, Alias("concurrency")] = None
    """Alias of concurrency."""
    broker_resource_name: Name | None = None
    """Name of its broker. It may be left out if the file declares only one."""
    broker_name: Annotated[Name | None, Alias("broker_resource_name")] = None
    """Alias of broker_resource_name."""
    queues: (
        Annotated[
            list[
                Annotated[
                    QueueResource, BeforeValidator(_as_mapping("name"), json_schema_input_type=QueueResource | str)
                ]
            ],
            BeforeValidator(_as_list, json_schema_input_type=list[QueueResource | str] | QueueResource | str),
            Field(min_length=1),
        ]
        | None
    ) = None
    """Queues to consume: names, or names with weight, concurrency and partitions."""
    tools: (
        Annotated[
            list[
                Annotated[ToolSource, BeforeValidator(_as_mapping("module"), json_schema_input_type=ToolSource | str)]
            ],
            BeforeValidator(_as_list, json_schema_input_type=list[ToolSource | str] | ToolSource | str),
            Field(min_length=1),
        ]
        | None
    ) = None
    """Tools to run: modules, or single classes. By default those of TASKSERVER_TOOLS."""


class TaskServer(WorkerSettings, _Essentials):
    """A number of identical worker processes.

    A setting that the file leaves out comes from the environment, else it has its default.
    """

    signing_keys: (
        Annotated[
            list[Annotated[str, Field(pattern=r"^(file:.+|env:[A-Za-z_][A-Za-z0-9_]*)$")]],
            BeforeValidator(_as_list, json_schema_input_type=list[str] | str),
        ]
        | None
    ) = None
    """Where to find the keys that messages must be signed with: file:/path or env:NAME. An empty list accepts all."""
    env: dict[Annotated[str, Field(pattern=_VARIABLE)], Value] = Field(default_factory=dict)
    """Environment variables for its processes; secrets by reference."""
    kubernetes: Kubernetes = Kubernetes()
    """Settings that only apply in Kubernetes."""

    @property
    def broker(self) -> str | None:
        """The name of its broker, under either key."""
        name: str | None = self._under("broker_resource_name")
        return name

    @property
    def queue_names(self) -> list[str]:
        """The names of its queues; empty if it has that of the environment."""
        return [queue.name for queue in self.queues or ()]

    @property
    def slots(self) -> int:
        """Its concurrency, under either key."""
        slots: int = self._under("concurrency")
        return slots

    @property
    def overrides(self) -> dict[str, Any]:
        """The worker settings that the file states, by name."""
        stated = {ALIASES.get(key, key) for key in self.model_fields_set}
        return {name: self._under(name) for name in WorkerSettings.model_fields if name in stated}

    def _under(self, key: str) -> Any:
        """The value of a key, under its own name or its alias."""
        given = (getattr(self, alias) for alias, of in ALIASES.items() if of == key)
        return next((value for value in given if value is not None), getattr(self, key))


ALIASES = {
    name: mark.of
    for name, field in TaskServer.model_fields.items()
    for mark in field.metadata
    if isinstance(mark, Alias)
}
"""Keys of a task server that are aliases of another one."""


class File(Resource):
    """A configuration file: brokers and task servers."""

    broker: Annotated[
        list[BrokerResource],
        BeforeValidator(_as_list, json_schema_input_type=BrokerResource | list[BrokerResource]),
    ] = Field(default_factory=list)
    """A broker, or a list. Without one, task servers use that of TASKSERVER_BROKER_URL, else an embedded one."""
    task_server: Annotated[
        list[TaskServer],
        BeforeValidator(_as_list, json_schema_input_type=TaskServer | list[TaskServer]),
        Field(min_length=1),
    ]
    """A task server, or a list."""
