"""The resources that a configuration file declares: brokers and task servers, with every key that it may have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from taskserver.config.references import Text
from taskserver.config.settings import as_durability
from taskserver.domain.durability import Durability
from taskserver.domain.durations import seconds
from taskserver.domain.limits import MAX_BYTES
from taskserver.domain.names import check_queue_name, check_tool_name
from taskserver.domain.partitions import MOST_PARTITIONS
from taskserver.domain.sizes import parse_size
from taskserver.errors import ConfigError

_NAME = r"^[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?$"
_QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"
_OBJECT = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"
_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"


def _whole(value: Any) -> Any:
    """What came out of a reference is text, also where a number is meant."""
    return int(value) if isinstance(value, Text) and value.strip().isdecimal() else value


def _flag(value: Any) -> Any:
    """The same for true and false."""
    return {"true": True, "false": False}.get(value.strip().lower(), value) if isinstance(value, Text) else value


def _explained(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Pydantic takes a ValueError's text for what is wrong."""

    def checked(value: Any) -> Any:
        try:
            return check(value)
        except ConfigError as error:
            raise ValueError(str(error)) from None

    return checked


def _as_mapping(key: str) -> Callable[[Any], Any]:
    """A bare text is short for a mapping with this one key."""
    return lambda value: {key: value} if isinstance(value, str) else value


def _as_list(value: Any) -> Any:
    """One is short for a list of one."""
    return value if value is None or isinstance(value, list) else [value]


def _as_text(value: Any) -> Any:
    return str(value) if type(value) in (int, float) else value


def _seconds(value: Any) -> Any:
    return seconds(value) if isinstance(value, str) else value


def _bytes(value: Any) -> Any:
    return parse_size(value) if isinstance(value, str) else value


WHOLE = BeforeValidator(_whole)
FLAG = BeforeValidator(_flag)
SECONDS = BeforeValidator(_explained(_seconds), json_schema_input_type=float | str)
BYTES = BeforeValidator(_explained(_bytes), json_schema_input_type=int | str)
Name = Annotated[str, Field(pattern=_NAME)]
Value = Annotated[str, BeforeValidator(_as_text, json_schema_input_type=str | float)]
Quantity = Annotated[str, Field(pattern=_QUANTITY), BeforeValidator(_as_text, json_schema_input_type=str | float)]

Port = Annotated[int, Field(ge=1, le=65_535), WHOLE]


class Resource(BaseModel):
    """What all parts of the file have in common: no key that is not known, no value of another type than was meant."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


class BrokerResource(Resource):
    """A Redis-compatible server. Without a URL it is an embedded one, which runs as long as it is used."""

    name: Name = "redis"
    """By which task servers refer to it."""
    type: Literal["redis", "valkey"] = "redis"
    """What it is; both are the same to taskserver."""
    url: str | None = None
    """Where it is: redis://, rediss://, redis+sentinel://, redis+cluster:// or unix://. Passwords by reference only."""
    username: str | None = None
    """The user; put into the URL."""
    password: str | None = None
    """The password, by reference: ${NAME} or ${file:/path}; put into the URL."""
    data: str | None = None
    """Folder of the embedded broker, from the file's own folder on. By default the project's .taskserver."""
    durability: Annotated[Durability, BeforeValidator(as_durability, json_schema_input_type=str)] | None = None
    """What a submit from a tool has survived: memory, fsync, replicas=N or fsync,replicas=N."""


class QueueShare(Resource):
    """A queue, and its part in the slots of each replica."""

    name: Annotated[str, AfterValidator(_explained(check_queue_name))]
    """The queue."""
    weight: Annotated[int, Field(ge=1, le=1000), WHOLE] = 1
    """While several queues have jobs waiting, each gets slots in proportion to its weight."""
    concurrency: Annotated[int, Field(ge=1, le=10_000), WHOLE] | None = None
    """Jobs of it that run at once in each replica. By default as many as there are slots."""
    partitions: Annotated[int, Field(ge=1, le=MOST_PARTITIONS), WHOLE] | None = None
    """Parts, each with a hash slot of its own, that it shall have at least. By default as many as it has, or one."""


class ToolSource(Resource):
    """Where tools are: all of a module, or one class of it."""

    module: Annotated[str, Field(min_length=1)]
    """The module, my_agent.tools, or a file with .py at its end, from the file's own folder on."""
    class_: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = Field(default=None, alias="class")
    """One class or function of it, and no other. It need not be decorated with @tool."""
    name: Annotated[str, AfterValidator(_explained(check_tool_name))] | None = None
    """By which agents call that class. By default the name that it was declared with."""


class Amounts(Resource):
    """Amounts of computing resources, as Kubernetes writes them."""

    cpu: Quantity | None = None
    """Processor: 500m is half a core."""
    memory: Quantity | None = None
    """Memory: 512Mi."""


class ComputeResources(Resource):
    """What a replica asks for and may use in Kubernetes."""

    requests: Amounts = Amounts(cpu="500m", memory="512Mi")
    """What is set aside for it."""
    limits: Amounts = Amounts(cpu="1000m", memory="1024Mi")
    """What it may use at most."""


class Autoscaling(Resource):
    """How the number of replicas follows the jobs that wait, in Kubernetes."""

    scaler: Literal["hpa", "keda"] = "hpa"
    """Who scales: a HorizontalPodAutoscaler, which needs the Prometheus adapter, or KEDA."""

    min: Annotated[int, Field(ge=0, le=10_000), WHOLE] = 1
    """Replicas at least."""
    max: Annotated[int, Field(ge=1, le=10_000), WHOLE]
    """Replicas at most."""
    lag: Annotated[int, Field(ge=1), WHOLE] = 10
    """Waiting jobs per replica above which another is started."""
    prometheus: Annotated[str, Field(pattern=r"^https?://\S+$")] | None = None
    """Address of Prometheus, as KEDA reaches it: http://prometheus-operated.monitoring:9090."""


class Kubernetes(Resource):
    """What only counts when the task server is rendered for Kubernetes."""

    image: Annotated[str, Field(min_length=1)] | None = None
    """The container image with taskserver and your tools."""
    resources: ComputeResources = ComputeResources()
    """What each replica asks for and may use."""
    autoscaling: Autoscaling | None = None
    """Bounds for the number of replicas; without it, it is fixed."""
    service_monitor: bool = True
    """Whether the Prometheus operator is told of the metrics, by ServiceMonitors."""
    egress: Literal["broker", "any"] = "broker"
    """What the pods may reach: their broker, DNS and egress_ports, or anything."""
    egress_ports: Annotated[list[Port], BeforeValidator(_as_list, json_schema_input_type=list[Port] | Port)] = []
    """TCP ports that the pods may reach besides, such as 443 for tools that call others."""
    service_account: Annotated[str, Field(pattern=_OBJECT)] | None = None
    """The service account of the pods. By default the namespace's own, without a token."""
    image_pull_secrets: Annotated[
        list[Annotated[str, Field(pattern=_OBJECT)]],
        BeforeValidator(_as_list, json_schema_input_type=list[str] | str),
    ] = []
    """Secrets with which the image is pulled."""
    node_selector: dict[str, Value] = {}
    """Labels that a node must have."""


class TaskServer(Resource):
    """A number of equal worker processes. What it does not say comes from the environment, else from the defaults."""

    type: Literal["redis-streams"] = "redis-streams"
    """How jobs are queued; redis-streams is the only one."""
    name: Name = "task_server"
    """Its name, by which commands refer to it; no two in a file are alike."""
    replicas: Annotated[int, Field(ge=1, le=1000), WHOLE] = 1
    """Worker processes."""
    concurrency_per_replica: Annotated[int, Field(ge=1, le=10_000), WHOLE] | None = None
    """Slots in each of them: jobs that run at once."""
    broker_resource_name: Name | None = None
    """The name of its broker. It may be left out where the file has one broker."""
    broker_name: Name | None = None
    """Another name of the key broker_resource_name."""
    queues: (
        Annotated[
            list[Annotated[QueueShare, BeforeValidator(_as_mapping("name"), json_schema_input_type=QueueShare | str)]],
            BeforeValidator(_as_list, json_schema_input_type=list[QueueShare | str] | QueueShare | str),
            Field(min_length=1),
        ]
        | None
    ) = None
    """The queues it works on: names, or names with weight and concurrency."""
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
    """The tools it runs: modules, or single classes. By default those of TASKSERVER_TOOLS."""
    lease: Annotated[float, Field(ge=0.3, le=3600), SECONDS] | None = None
    """Seconds after which a job whose worker fell silent runs elsewhere."""
    grace_period: Annotated[float, Field(ge=0, le=86_400), SECONDS] | None = None
    """Seconds that running jobs may go on when a worker stops."""
    unknown_tool_wait: Annotated[float, Field(ge=0), SECONDS] | None = None
    """Seconds that a job waits for a worker that knows its tool."""
    max_message_bytes: Annotated[int, Field(ge=1024, le=MAX_BYTES), BYTES] | None = None
    """The largest result that is kept, and the largest message that its tools submit."""
    max_jobs: Annotated[int, Field(ge=1), WHOLE] | None = None
    """Attempts after which a worker takes no more, lets them end, and is replaced by a fresh one."""
    max_rss: Annotated[int, Field(ge=1), BYTES] | None = None
    """Memory of a worker's process beyond which the same happens."""
    keep_messages: Annotated[bool, FLAG] | None = None
    """Keep the whole messages of jobs that succeed, to run them again and to show their arguments."""
    signing_keys: (
        Annotated[
            list[Annotated[str, Field(pattern=r"^(file:.+|env:[A-Za-z_][A-Za-z0-9_]*)$")]],
            BeforeValidator(_as_list, json_schema_input_type=list[str] | str),
        ]
        | None
    ) = None
    """Where the keys are with which messages must be signed: file:/path or env:NAME. An empty list takes all."""
    loglevel: Literal["debug", "info", "warning", "error"] | None = None
    """What is logged."""
    log_format: Literal["text", "json"] | None = None
    """How it is logged."""
    metrics_port: Annotated[int, Field(ge=0, le=65_535), WHOLE] | None = None
    """Where metrics are served; 0 for any free port. By default nowhere."""
    metrics_host: Annotated[str, Field(min_length=1)] | None = None
    """The address on which they are."""
    metrics_targets: Annotated[str, Field(min_length=1)] | None = None
    """File that tells Prometheus the replicas' ports, from the file's own folder on; on this machine."""
    env: dict[Annotated[str, Field(pattern=_VARIABLE)], Value] = Field(default_factory=dict)
    """Environment variables for its processes; secrets by reference."""
    kubernetes: Kubernetes = Kubernetes()
    """What only counts in Kubernetes."""

    @property
    def broker(self) -> str | None:
        """The name of its broker, under whichever key it stands."""
        return self.broker_resource_name or self.broker_name


class File(Resource):
    """A configuration file: brokers and task servers."""

    broker: Annotated[
        list[BrokerResource],
        BeforeValidator(_as_list, json_schema_input_type=BrokerResource | list[BrokerResource]),
    ] = Field(default_factory=list)
    """One broker, or a list. Without any, task servers use that of TASKSERVER_BROKER_URL, else an embedded one."""
    task_server: Annotated[
        list[TaskServer],
        BeforeValidator(_as_list, json_schema_input_type=TaskServer | list[TaskServer]),
        Field(min_length=1),
    ]
    """One task server, or a list."""
