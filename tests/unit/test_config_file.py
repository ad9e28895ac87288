"""A configuration file that can be used says what it declares and where; of any other, all that is wrong is told."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskserver.config.file import Config, load
from taskserver.errors import ConfigFileInvalid

Loading = Callable[[str], Config]


@pytest.fixture
def loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loading:
    """Load a text as the file config.yaml."""
    monkeypatch.chdir(tmp_path)

    def load_text(text: str) -> Config:
        (tmp_path / "config.yaml").write_text(text)
        return load("config.yaml")

    return load_text


def refusal(loading: Loading, text: str) -> str:
    with pytest.raises(ConfigFileInvalid) as caught:
        loading(text)
    return str(caught.value)


FULL = """\
broker:
  - {name: redis, type: redis, url: "${REDIS_URL:-redis://localhost:6379}"}
  - {name: local, data: ./data, durability: "fsync,replicas=1"}
task_server:
  - name: task_server
    type: redis-streams
    replicas: ${REPLICAS:-4}
    concurrency_per_replica: 1
    broker_resource_name: redis
    queues: [{name: fast, weight: 3, concurrency: 2}, slow]
    tools: [{module: my_agent.tools}, {name: sql, module: ./sql.py, class: SqlTool}, other.tools]
    lease: 5m
    signing_keys: env:KEY
    env: {LEVEL: 3}
    kubernetes: {image: "agents:1", autoscaling: {max: 9}}
  - {name: second, broker_name: local}
"""


def test_what_a_file_declares(loading: Loading) -> None:
    config = loading(FULL)
    first, second = config.task_servers
    assert [broker.name for broker in config.brokers] == ["redis", "local"]
    assert str(config.brokers[1].durability) == "fsync,replicas=1"
    assert (first.replicas, first.lease, first.env, first.signing_keys) == (4, 300.0, {"LEVEL": "3"}, ["env:KEY"])
    assert [(queue.name, queue.weight, queue.concurrency) for queue in first.queues or []] == [
        ("fast", 3, 2),
        ("slow", 1, None),
    ]
    assert [(tool.module, tool.class_, tool.name) for tool in first.tools or []] == [
        ("my_agent.tools", None, None),
        ("./sql.py", "SqlTool", "sql"),
        ("other.tools", None, None),
    ]
    assert (config.broker_of(first), config.broker_of(second)) == (config.brokers[0], config.brokers[1])
    assert config.task_server("second") is second


def test_the_line_of_a_value(loading: Loading) -> None:
    config = loading(FULL)
    assert config.line_of(("task_server", 0, "replicas")) == 7
    assert config.line_of(("task_server", 1, "replicas")) is None
    assert config.line_of(("task_server", 0, "queues", 0, "weight")) == 10
    assert [reference.target for reference in config.references_in(("broker", 0, "url"))] == ["REDIS_URL"]


def test_one_task_server_needs_no_list_and_its_keys_no_position(loading: Loading) -> None:
    config = loading("task_server:\n  replicas: 2\n")
    assert config.line_of(("task_server", 0, "replicas")) == 2
    assert config.name_of(("task_server", 0, "replicas")) == "task_server.replicas"


def test_references(loading: Loading, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "password").write_text("p@ss/word\n")
    monkeypatch.setenv("HOST", "example.org")
    monkeypatch.setenv("EMPTY", "")
    config = loading(
        "broker: {url: 'redis://user:${file:password}@${HOST}:${PORT:-6379}'}\n"
        "task_server: {env: {A: 'cost $$5', B: '${EMPTY:-default}', SECRET: '${file:password}'}}\n"
    )
    assert config.brokers[0].url == "redis://user:p%40ss%2Fword@example.org:6379"
    assert config.task_servers[0].env == {"A": "cost $5", "B": "default", "SECRET": "p@ss/word"}


SPELLINGS = [
    "1.10", "01234", "1_000", "+49", "5.", ".5", "-0", "1e5", "1.5e3", "12:30", "0x1F", "0o17", "0b1", "2026-11-29",
    "1.0", "1.10.0", "00", "1__0", ".inf", ".NaN", "007.50", "'yes'", "\"~\"", "'1.10'",
]  # fmt: skip


@pytest.mark.parametrize("spelled", SPELLINGS)
def test_where_text_is_meant_a_value_arrives_letter_by_letter(loading: Loading, spelled: str) -> None:
    text = f"task_server: {{tools: x, env: {{A: {spelled}}}, kubernetes: {{node_selector: {{zone: {spelled}}}}}}}\n"
    (server,) = loading(text).task_servers
    assert server.env["A"] == server.kubernetes.node_selector["zone"] == spelled.strip("'\"")


def test_references_can_stay_unresolved(loading: Loading, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("broker: {url: '${UNSET}'}\ntask_server: {name: a}\n")
    assert load("config.yaml", keep=lambda path: path[-1] == "url").brokers[0].url == "${UNSET}"


def test_anchors_and_merges(loading: Loading) -> None:
    config = loading(
        "task_server:\n  - &one {name: one, replicas: 3, queues: [a]}\n  - {<<: *one, name: two, queues: [b]}\n"
    )
    assert [(server.name, server.replicas) for server in config.task_servers] == [("one", 3), ("two", 3)]


SERVER = "task_server:\n  name: task_server\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("replica: 4", "3: task_server.replica: unknown key; did you mean 'replicas'?"),
        ("replicas: 0", "3: task_server.replicas: must be at least 1, not 0"),
        ("replicas: -1", "3: task_server.replicas: must be at least 1, not -1"),
        ("replicas: 2000", "3: task_server.replicas: must be at most 1,000, not 2000"),
        ("replicas: four", "3: task_server.replicas: must be a whole number, not 'four'"),
        ("replicas: '4'", "3: task_server.replicas: must be a whole number, not '4': leave out the quotes"),
        ("replicas: 1.5", "3: task_server.replicas: must be a whole number, not 1.5"),
        ("replicas: true", "3: task_server.replicas: must be a whole number, not true"),
        ("replicas: [4]", "3: task_server.replicas: must be a whole number, not a list"),
        ("replicas:", "3: task_server.replicas: has no value: write one, or remove the key"),
        (
            "replicas: ${UNSET}",
            "3: task_server.replicas: environment variable UNSET is not set: set it, or write ${UNSET:-default}",
        ),
        ("replicas: ${X:-many}", "3: task_server.replicas: must be a whole number, not the value of its reference"),
        (
            "lease: ${file:/nowhere}",
            "3: task_server.lease: file /nowhere cannot be read: no such file or directory",
        ),
        ("lease: ${1x}", "3: task_server.lease: ${1x} is not a valid reference: write ${NAME} for an "
         "environment variable, or ${file:/path/to/it}"),
        ("lease: ${OPEN", "3: task_server.lease: a ${ is not closed: add }, or write $${ for the two characters"),
        ("lease: 2h", "3: task_server.lease: must be at most 3,600, not 7200"),
        ("lease: 0.1", "3: task_server.lease: must be at least 0.3, not 0.1"),
        (
            "lease: soon",
            "3: task_server.lease: 'soon' is not a duration: write seconds, "
            "or a number with a unit such as 250ms, 90s, 5m, 2h or 1d",
        ),
        (
            "max_message_bytes: much",
            "3: task_server.max_message_bytes: 'much' is not a size: write bytes, "
            "or a number with a unit such as 512MB, 1.5GB or 2GiB",
        ),
        (
            "type: celery",
            "3: task_server.type: 'celery' is not supported: write redis-streams; the rest can stay as it is",
        ),
        (
            "type: redis-stream",
            "3: task_server.type: must be 'redis-streams', not 'redis-stream'; did you mean 'redis-streams'?",
        ),
        (
            "loglevel: warn",
            "3: task_server.loglevel: must be 'debug', 'info', 'warning' or 'error', not 'warn'; did you mean "
            "'warning'?",
        ),
        ("queues: []", "3: task_server.queues: is empty: write a value, or remove the key"),
        ("queues: [a, a]", "3: task_server.queues[1]: queue 'a' is listed twice"),
        (
            "queues: [no]",
            "3: task_server.queues[0]: must be a string or a mapping, not false: put it in quotes",
        ),
        (
            "queues: [{name: a b}]",
            "3: task_server.queues[0].name: 'a b' is not a valid queue name: "
            "use 1 to 64 letters, digits, '_', '.' or '-', "
            "starting with a letter or digit",
        ),
        (
            "queues: [{name: a, wieght: 2}]",
            "3: task_server.queues[0].wieght: unknown key; did you mean 'weight'?",
        ),
        ("queues: [{name: a, weight: 0}]", "3: task_server.queues[0].weight: must be at least 1, not 0"),
        ("tools: [{class: A}]", "3: task_server.tools[0].module: is missing"),
        (
            "tools: [{module: a, name: b}]",
            "3: task_server.tools[0].name: requires a class: name the class, or remove the name",
        ),
        (
            "tools: [{module: a, class: b.c}]",
            "3: task_server.tools[0].class: must be the name of a class or function, not 'b.c'",
        ),
        ("queues: [0123]", "3: task_server.queues[0]: must be a string or a mapping, not 0123: put it in quotes"),
        ("queues: [{name: 1_0}]", "3: task_server.queues[0].name: must be a string, not 1_0: put it in quotes"),
        ("kubernetes: {image: 1.10}", "3: task_server.kubernetes.image: must be a string, not 1.10: put it in quotes"),
        ("replicas: 1_001", "3: task_server.replicas: must be at most 1,000, not 1_001"),
        ("env: {DOOR_PASSWORD: 0123}", "3: task_server.env.DOOR_PASSWORD: secrets are not allowed in the file: write "
         "${NAME} for an environment variable, or ${file:/path/to/it}"),
        ("env: {A: true}", "3: task_server.env.A: must be a string, not true: put it in quotes"),
        (
            "env: {5a: x}",
            "3: task_server.env.5a: must be a variable name (letters, digits and '_', no leading digit), not '5a'",
        ),
        (
            "env: {API_KEY: abc}",
            "3: task_server.env.API_KEY: secrets are not allowed in the file: write ${NAME} for an environment "
            "variable, or ${file:/path/to/it}",
        ),
        (
            "env: {API_KEY: '${KEY:-abc}'}",
            "3: task_server.env.API_KEY: secrets are not allowed in the file: write ${NAME} for an environment "
            "variable, or ${file:/path/to/it}",
        ),
        (
            "env: {DATABASE: 'postgres://u:hidden@host/db'}",
            "3: task_server.env.DATABASE: passwords are not allowed in a URL: use a reference, as in "
            "redis://user:${REDIS_PASSWORD}@host:6379",
        ),
        (
            "signing_keys: hidden",
            "3: task_server.signing_keys: must be a reference, not the key itself: write file:/path/to/the/key or "
            "env:NAME",
        ),
        ("env: {TASKSERVER_GRACE_PERIOD: 5m}", "3: task_server.env.TASKSERVER_GRACE_PERIOD: cannot be set here: "
         "use the key grace_period"),
        ("env: {TASKSERVER_TOOLS: a}", "3: task_server.env.TASKSERVER_TOOLS: cannot be set here: use the key tools"),
        ("env: {TASKSERVER_BROKER_URL: '${URL:-x}'}", "3: task_server.env.TASKSERVER_BROKER_URL: cannot be set here: "
         "use the key broker.url"),
        ("kubernetes: {max_surge: some}", "3: task_server.kubernetes.max_surge: must be a number of pods or a share "
         "such as 25%, not 'some'"),
        ("kubernetes: {tmp_size: big}", "3: task_server.kubernetes.tmp_size: must be an amount such as 512Mi or 2Gi, "
         "not 'big'"),
        ("kubernetes: {ingress_namespaces: A b}", "3: task_server.kubernetes.ingress_namespaces: must be the name "
         "of a namespace, not 'A b'"),
        ("metrics_port: 70000", "3: task_server.metrics_port: must be at most 65,535, not 70000"),
        (
            "kubernetes: {resources: {limits: {cpu: lots}}}",
            "3: task_server.kubernetes.resources.limits.cpu: must be an amount such as 500m or 2, not 'lots'",
        ),
        (
            "kubernetes: {autoscaling: {min: 4, max: 2}}",
            "3: task_server.kubernetes.autoscaling.max: must be at least min (4), not 2",
        ),
        ("name: again", "3: task_server.name: is a duplicate: the key is already on line 2"),
        (
            "broker_name: a\n  broker_resource_name: a",
            "3: task_server.broker_name: is an alias of broker_resource_name: remove one of them",
        ),
    ],
)  # fmt: skip
def test_a_key_of_a_task_server_that_is_not_valid_is_refused(text: str, message: str, loading: Loading) -> None:
    assert refusal(loading, f"{SERVER}  {text}\n") == f"config.yaml:{message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ": is empty: declare a task_server, and a broker unless it is the embedded one"),
        ("# nothing\n", ": is empty: declare a task_server, and a broker unless it is the embedded one"),
        ("- a\n", ":1: must be a mapping, such as task_server: …, not a list"),
        ("a\n", ":1: must be a mapping, such as task_server: …, not a single value"),
        ("broker: {name: a}\n", ":1: task_server: is missing"),
        ("task_server: []\n", ":1: task_server: is empty: write a value, or remove the key"),
        ("task_server: 5\n", ":1: task_server: must be a mapping, not 5"),
        ("a: [1\nb: 2\n", ":2: is not YAML: expected ',' or ']', but got ':' while parsing a flow sequence"),
        ("a: b\n\tc: d\n", ":2: is indented with a tab: use spaces"),
        ("a: 1\n---\nb: 2\n", ":2: contains more than one document: remove the line ---"),
        ("a: \x01\n", ":1: contains a character that YAML does not allow"),
        ("a: !!python/object:os.system x\n",
         ":1: tags such as 'tag:yaml.org,2002:python/object:os.system' are not supported: write only the value"),
        ("a: !env B\n", ":1: tags such as '!env' are not supported: write only the value"),
        ("a: &a [*a]\n", ":1: an alias contains itself"),
        (SERVER + "  [a, b]: c\n", ":3: task_server: a key must be a string"),
        ("x" * 300_000, ":1: is larger than 256 KiB, the limit for a configuration file"),
        ("[" * 30, ":1: values are nested more than 20 levels deep"),
        (
            SERVER + "brokers: {name: a}\n",
            ":3: brokers: unknown key; did you mean 'broker'?",
        ),
        (
            "broker: [{name: redis}, {name: other}]\n" + SERVER + "  broker_resource_name: reddis\n",
            ":4: task_server.broker_resource_name: there is no broker 'reddis' in this file, only redis, other; "
            "did you mean 'redis'?",
        ),
        (
            "broker: {name: redis}\n" + SERVER + "  broker_name: postgres\n",
            ":4: task_server.broker_name: there is no broker 'postgres' in this file, only redis",
        ),
        (
            "broker: [{name: redis}, {name: other}]\n" + SERVER,
            ":2: task_server: broker_resource_name is missing: choose one of redis, other",
        ),
        (
            "broker: [{name: a},\n  {name: a}]\n" + SERVER + "  broker_name: a\n",
            ":2: broker[1].name: another broker is already named 'a': use a different name",
        ),
        (
            "task_server:\n- {name: a}\n- {name: a}\n",
            ":3: task_server[1].name: another task server is already named 'a': use a different name",
        ),
        (
            "task_server:\n- {name: a, metrics_port: 9}\n- {name: b, metrics_port: 9}\n",
            ":3: task_server[1].metrics_port: port 9 is already used by another task server: use a different port",
        ),
        (
            "broker: {url: 'redis://user:hidden@host'}\n" + SERVER,
            ":1: broker.url: passwords are not allowed in a URL: use a reference, as in "
            "redis://user:${REDIS_PASSWORD}@host:6379",
        ),
        (
            "broker: {url: '${URL:-redis://:hidden@host}'}\n" + SERVER,
            ":1: broker.url: passwords are not allowed in a URL: use a reference, as in "
            "redis://user:${REDIS_PASSWORD}@host:6379",
        ),
        (
            "broker: {url: 'redis+sentinel://h/m?sentinel_password=hidden'}\n" + SERVER,
            ":1: broker.url: passwords are not allowed in a URL: use a reference, as in "
            "redis://user:${REDIS_PASSWORD}@host:6379",
        ),
        (
            "broker: {url: 'redis://host', password: hidden}\n" + SERVER,
            ":1: broker.password: secrets are not allowed in the file: write ${NAME} for an environment variable, or "
            "${file:/path/to/it}",
        ),
        (
            "broker: {url: 'redis://host', data: x}\n" + SERVER,
            ":1: broker.data: is only for the embedded broker: remove data or url",
        ),
        (
            "broker: {username: u}\n" + SERVER,
            ":1: broker.username: requires a url: the embedded broker has no users or passwords",
        ),
        (
            "broker: {type: postgres}\n" + SERVER,
            ":1: broker.type: must be 'redis' or 'valkey', not 'postgres'",
        ),
        (
            "broker: {durability: fsnyc}\n" + SERVER,
            ":1: broker.durability: 'fsnyc' is not a durability: use memory, fsync, replicas=1 or "
            "fsync,replicas=1; did you mean 'fsync'?",
        ),
    ],
)  # fmt: skip
def test_a_file_that_is_not_valid_is_refused(text: str, message: str, loading: Loading) -> None:
    assert refusal(loading, text) == f"config.yaml{message}"


def test_all_errors_are_reported_at_once_by_line(loading: Loading) -> None:
    text = "task_server:\n  replica: 4\n  replicas: 0\n  broker_name: b\nbroker: {name: a, user: b}\n"
    assert refusal(loading, text).splitlines() == [
        "4 errors in config.yaml:",
        "config.yaml:2: task_server.replica: unknown key; did you mean 'replicas'?",
        "config.yaml:3: task_server.replicas: must be at least 1, not 0",
        "config.yaml:4: task_server.broker_name: there is no broker 'b' in this file, only a",
        "config.yaml:5: broker.user: unknown key; did you mean 'username'?",
    ]


def test_a_billion_laughs_are_not_heard(loading: Loading) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert "has more than 10,000 values, counting each use of an alias" in refusal(loading, "\n".join(lines))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere.yaml", "nowhere.yaml: cannot be read: no such file or directory"),
        (".", ".: cannot be read: is a directory"),
        ("latin.yaml", "latin.yaml:2: is not UTF-8 text: save the file in that encoding"),
    ],
)
def test_a_file_that_cannot_be_read(path: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("# one\nname: größe\n".encode("latin-1"))
    with pytest.raises(ConfigFileInvalid) as caught:
        load(path)
    assert str(caught.value) == message


def test_no_secret_is_in_an_error(loading: Loading, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "hidden")
    text = SERVER + "  replicas: ${KEY}\n  lease: ${KEY}\n  loglevel: ${KEY}\n  metrics_port: ${KEY}\n"
    assert "hidden" not in refusal(loading, text)


SCALARS = ("a", "1", "-5", "1.5", ".inf", "0x1f", "null", "true", "'2'", "${A}", "${A:-b}", "${file:/}", "$", "{", "*a")
ODD = ("!x y", "&a b", "redis://u:p@h", "2001-01-01", "", "<<", "|", "? b", "- c", "\t", "9" * 5000)
PARTS = ("broker", "queues", "tools", "env", "kubernetes", "resources", "limits", "autoscaling")
KEYS = (*PARTS, "name", "weight", "url", "password", "lease", "class", "<<", "1", "null")
VALUES = st.recursive(
    st.sampled_from((*SCALARS, *ODD)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda each: f"[{', '.join(each)}]"),
        st.dictionaries(st.sampled_from(KEYS), inner, max_size=4).map(
            lambda each: f"{{{', '.join(f'{key}: {value}' for key, value in each.items())}}}"
        ),
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(broker=VALUES, server=VALUES, more=st.text(max_size=20))
def test_any_file_loads_or_is_refused(broker: str, server: str, more: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f"broker: {broker}\ntask_server: {server}\n{more}", errors="surrogatepass")
    with suppress(ConfigFileInvalid):
        assert load(str(file)).task_servers
