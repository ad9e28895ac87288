"""Reaching the broker: URLs without secrets, errors in our words, and calls that survive what servers do."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from taskserver.domain.ids import JobRef
from taskserver.domain.job import State
from taskserver.domain.settlement import Finish
from taskserver.errors import BrokerDenied, BrokerError, BrokerFull, BrokerUnavailable, ConfigError, TaskServerError
from taskserver.store import scripts
from taskserver.store.broker.connection import Broker
from taskserver.store.broker.script_connection import ScriptConnection
from taskserver.store.broker.subscription import Subscription
from taskserver.store.broker.translation import GroupMissing
from taskserver.store.broker.urls import parse_url, without_secrets
from taskserver.store.jobs import admin, recover, settle
from taskserver.store.jobs.lease import LeaseKeeper
from taskserver.store.queries import jobs as job_queries
from taskserver.store.queries import queues
from taskserver.store.queries.outcomes import read_outcomes
from tests.faults.proxy import Proxy
from tests.store.harness import (
    LARGE_ERROR,
    LARGE_RESULT,
    LONG_MS,
    PATIENT,
    QUEUE,
    SMALL_RESULT,
    Queue,
    new_job,
    release,
    retry,
    says,
    submit_all,
    succeed,
)

# URLs


@pytest.mark.parametrize(
    ("url", "name", "password", "options"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0", None, {}),
        ("redis://", "redis://localhost:6379/0", None, {}),
        ("rediss://user:pw@host", "rediss://host:6379/0", "pw", {}),
        ("valkey://host:1", "redis://host:1/0", None, {}),
        ("valkeys://valkey.example/2", "rediss://valkey.example:6379/2", None, {}),
        ("redis://[::1]:7000?db=3", "redis://[::1]:7000/3", None, {}),
        ("unix:///tmp/a%20b@c?db=1", "unix:///tmp/a b@c?db=1", None, {}),
        ("unix://me:a#b@/tmp/s", "unix:///tmp/s", "a#b", {}),
        ("redis://:a#:@b@host", "redis://host:6379/0", "a#:@b", {}),
        ("redis://:%23%2F%3F%40%25%2C%20%C3%BC@host", "redis://host:6379/0", "#/?@%, ü", {}),
        ("redis://me@h?password=a%26b%23c%25+d", "redis://h:6379/0", "a&b#c%+d", {}),
        ("redis://:x@h?password=x&client_name=me", "redis://h:6379/0", "x", {"client_name": "me"}),
        ("rediss://h?ssl_ca_certs=/a%20b&ssl_check_hostname=False&ssl_min_version=1.3", "rediss://h:6379/0", None,
         {"ssl_ca_certs": "/a b", "ssl_check_hostname": False, "ssl_min_version": ssl.TLSVersion.TLSv1_3}),
    ],
)  # fmt: skip
def test_urls_of_a_broker(url: str, name: str, password: str | None, options: dict[str, object]) -> None:
    found = parse_url(url)
    assert (found.name, found.login.password, found.options) == (name, password, options)
    assert Broker(url).url == name
    assert str(password) not in repr(found) or password is None


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "must start with one of"),
        ("localhost:6379", "must start with one of"),
        ("http://u:secret@host", "must start with one of"),
        ("u:secret@host", "must start with one of"),
        ("redis://:secret@host:port", "port must be a number from 1 to 65535"),
        ("redis://:secret@host:0", "port must be a number from 1 to 65535"),
        ("redis://:secret@host:99999", "port must be a number from 1 to 65535"),
        ("redis://:secret@::1", r"IPv6 address must be in brackets, as in \[::1\]:6379"),
        ("redis://:secret@[::1", "IPv6 address must be in brackets"),
        ("redis://:secret@a,b", r"several servers need redis\+sentinel"),
        ("redis://:secret@a b", "the host must be a name or address"),
        ("redis://:sec?secret@host", "escape special characters"),
        ("redis://:sec/secret@host", "escape special characters"),
        ("unix://:sec@/ret@/tmp/s", "escape special characters"),
        ("redis://:secret@host#secret", "escape special characters"),
        ("redis://host?password=sec#ret", "%23 for '#'"),
        ("redis://host?password=sec&ret=1", "it has an unknown option; write %26 for '&' in a value"),
        ("redis://:secret@host?password=secrets", "it has two logins"),
        ("redis://:secret%FF@host", "UTF-8"),
        ("redis://:secret@host\r", r"remove '\\r'"),
        ("unix://", "/path/to/socket"),
        ("unix://tmp/socket", "/path/to/socket"),
        ("redis://:secret@host/one", "database number"),
        ("redis://:secret@host/" + "1" * 5000, "database number"),
        ("redis://:secret@host?db=" + "1" * 5000, "option db must be a whole number"),
        ("redis://:secret@host/1?db=2", "two databases"),
        ("redis://:secret@host?db=x", "option db must be a whole number"),
        ("redis://:secret@host?colour=red", "no option 'colour'"),
        ("redis://:secret@host?socket_timeout=1", "remove socket_timeout"),
        ("redis://:secret@host?ssl_ca_certs=/ca", "ssl_ca_certs is for TLS: write rediss://"),
        ("rediss://:secret@host?ssl_cert_reqs=maybe", "ssl_cert_reqs must be none, optional or required"),
        ("redis+sentinel://:secret@host:26379", "name of the master"),
        ("redis+sentinel://:secret@host:26379/jobs/one", "name of the master"),
        ("redis+sentinel://:secret@host:port/jobs", "port must be a number"),
        ("redis+sentinel://:sec/ret@host/jobs", "escape special characters"),
        ("redis+sentinel://:secret@host,,other/jobs", "write the servers as"),
        ("redis+cluster://:secret@host/1", "no other database"),
        ("redis+cluster://:secret@host?db=1", "no other database"),
        ("redis+cluster://:secret@host?protocol=3", "remove protocol"),
        ("redis+cluster://:secret@host?colour=red", "colour"),
        ("redis+ring://:secret@host", "must start with one of"),
        ("unix+sentinel:///tmp/s/jobs", "must start with one of"),
    ],
)
def test_urls_of_no_broker_are_refused_without_telling_secrets(url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        Broker(url)
    assert "sec" not in str(caught.value)
    assert "ret" not in str(caught.value).replace("secret_", "")


def test_a_url_of_sentinels_is_taken_apart() -> None:
    url = parse_url("valkeys+sentinel://app:p#%40ss@a:1,b/jobs/2?ssl_ca_certs=ca&sentinel_password=two%20words%2F")
    assert (url.kind, url.service, url.name) == ("sentinel", "jobs", "rediss+sentinel://a:1,b:26379/jobs/2")
    server = {"host": "::1", "port": 6379, "username": "app", "password": "p#@ss", "db": 2, "ssl_ca_certs": "ca"}
    assert url.arguments(url.server("::1", 6379)) == server
    assert [url.sentinel_arguments(each) for each in url.hosts] == [
        {"host": "a", "port": 1, "password": "two words/", "ssl_ca_certs": "ca"},
        {"host": "b", "port": 26379, "password": "two words/", "ssl_ca_certs": "ca"},
    ]


def test_a_url_of_a_cluster_is_taken_apart() -> None:
    url = parse_url("redis+cluster://app:sec#ret@a:7000,[::1]:7001")
    assert (url.kind, url.hosts) == ("cluster", (("a", 7000), ("::1", 7001)))
    server = {"host": "a", "port": 7000, "username": "app", "password": "sec#ret", "db": 0}
    assert url.arguments(url.server("a", 7000)) == server


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis+sentinel://app:secret@a:1,b:2/jobs?sentinel_password=secret", "redis+sentinel://a:1,b:2/jobs"),
        ("redis://user:secret@host:6379/0", "redis://host:6379/0"),
        ("redis://host/0?password=secret", "redis://host/0"),
        ("redis://:se@cret@host", "redis://host"),
        ("redis://:se?cret@host", "redis://…"),
        ("redis://host?password=se@cret", "redis://…"),
        ("redis://host#secret", "redis://host"),
        ("redis+cluster://:sec#ret@host:1", "redis+cluster://host:1"),
        ("redis://:s@e?cret@host", "redis://…"),
        ("user:secret@host", "host"),
        ("unix:///tmp/s?password=secret", "unix:///tmp/s"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert without_secrets(url) == shown


# Refusals


async def refused(broker: Broker) -> BrokerError:
    with pytest.raises(BrokerError) as caught:
        await broker.run("outcomes", QUEUE, "x")
    await broker.close()
    return caught.value


async def test_a_server_that_is_down_is_unavailable(tmp_path: Path) -> None:
    error = await refused(Broker(f"unix://:secret@{tmp_path}/none", patience=0.1))
    assert isinstance(error, BrokerUnavailable)
    assert f"{tmp_path}/none" in str(error)
    assert "secret" not in str(error)


@pytest.fixture
async def locked_url(queue: Queue) -> AsyncIterator[str]:
    """URL of a broker with a user ``reader`` whose password is ``right`` and who may read only."""
    await queue.redis.execute_command("ACL", "SETUSER", "reader", "on", ">right", "~*", "+@read", "+ping")
    yield queue.broker.url.replace("unix://", "unix://reader:{password}@")
    await queue.redis.execute_command("ACL", "DELUSER", "reader")


async def test_a_wrong_password_is_denied(locked_url: str) -> None:
    error = await refused(Broker(locked_url.format(password="wrong-secret")))
    assert isinstance(error, BrokerDenied)
    assert "secret" not in str(error)
    assert "reader" not in str(error)


async def test_a_user_without_permission_is_denied(locked_url: str) -> None:
    error = await refused(Broker(locked_url.format(password="right")))
    assert isinstance(error, BrokerDenied)
    assert "may not do this" in str(error)


async def test_a_password_that_the_server_does_not_want_is_denied(queue: Queue) -> None:
    error = await refused(Broker(queue.broker.url.replace("unix://", "unix://nobody:secret@")))
    assert isinstance(error, BrokerDenied)
    assert "secret" not in str(error)


async def test_permissions_revoked_while_connected_are_denied_and_recover(queue: Queue, locked_url: str) -> None:
    await queue.redis.execute_command("ACL", "SETUSER", "reader", "+@all")
    other = Broker(locked_url.format(password="right"), patience=0)
    assert await read_outcomes(other, QUEUE, ["x"]) == [None]
    await queue.redis.execute_command("ACL", "SETUSER", "reader", "-@all")
    with pytest.raises(BrokerDenied):
        await read_outcomes(other, QUEUE, ["x"])
    await queue.redis.execute_command("ACL", "SETUSER", "reader", "+@all")
    assert await read_outcomes(other, QUEUE, ["x"]) == [None]
    await other.close()


# Scripts that the server has forgotten


async def test_scripts_are_sent_again_when_the_server_forgot_them(queue: Queue) -> None:
    await queue.redis.script_flush()
    key = await queue.submit()
    await queue.redis.script_flush()
    (job,) = await queue.claim()
    await queue.redis.script_flush()
    assert await queue.renew(job) == {}
    await queue.redis.script_flush()
    await queue.settle(succeed(job))
    assert await queue.state(key) is State.SUCCEEDED


async def test_scripts_forgotten_inside_a_pipeline_are_sent_again(queue: Queue) -> None:
    first, second, third = [await queue.running() for _ in range(3)]
    await queue.redis.script_flush()
    settlements = [succeed(first), retry(second, delay_ms=LONG_MS), release(third)]
    assert await settle.settle(queue.broker, QUEUE, [says(first, 1, "words")], settlements, PATIENT) == []
    states = [await queue.state(job.key) for job in (first, second, third)]
    assert states == [State.SUCCEEDED, State.DELAYED, State.QUEUED]


async def test_reports_still_count_when_only_their_script_was_forgotten(queue: Queue) -> None:
    job, other = await queue.running(), await queue.running()
    await queue.redis.script_flush()
    await queue.settle(succeed(other))  # loads finish, not report
    await settle.settle(queue.broker, QUEUE, [says(job, 1, "last words")], [succeed(job)], PATIENT)
    assert [str(event) for event in await job_queries.events(queue.broker, JobRef(QUEUE, job.key))] == ["last words"]


# Groups and streams that are gone


async def test_a_script_that_is_missing_from_the_disk_is_named(
    queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts, "_LUA", tmp_path)
    scripts.script.cache_clear()
    try:
        with pytest.raises(TaskServerError, match=r"/prepare\.lua is missing: install taskserver again"):
            await queue.broker.prepare("new")
    finally:
        scripts.script.cache_clear()


async def test_everything_is_made_anew_after_flushall(queue: Queue) -> None:
    await queue.submit()
    await queue.redis.flushall()
    assert await queue.claim() == []
    assert await queue.promote() == 0
    assert await queue.reclaim() == {}
    assert await admin.purge(queue.broker, QUEUE) == 0
    await recover.leave(queue.broker, QUEUE, "w1")
    key = await queue.submit()
    assert [job.key for job in await queue.claim()] == [key]


async def test_a_heartbeat_without_groups_says_so(queue: Queue) -> None:
    job = await queue.running()
    await queue.destroy_groups()
    with pytest.raises(GroupMissing):
        await queue.renew(job)


async def test_finishing_needs_no_group(queue: Queue) -> None:
    job = await queue.running()
    await queue.destroy_groups()
    assert await queue.settle(succeed(job)) == []
    assert await queue.claim() == []
    assert await queue.entries() == 0


# A server out of memory


@pytest.fixture
async def full(queue: Queue) -> AsyncIterator[Queue]:
    """A queue with one running job on a server that is out of memory from ``fill`` on."""
    yield queue
    await queue.redis.config_set("maxmemory", 0)


async def fill(queue: Queue) -> None:
    await queue.redis.config_set("maxmemory", 1)


async def test_a_submit_is_refused_and_nothing_is_written(full: Queue) -> None:
    await fill(full)
    job, later = new_job(), new_job(delay_ms=LONG_MS, expires_ms=LONG_MS)
    for fresh in (full.broker, Broker(full.broker.url)):
        with pytest.raises(BrokerFull):
            await submit_all(fresh, QUEUE, [job, later])
    await fresh.close()
    assert await full.redis.keys(f"*{job.key}*") == await full.redis.keys(f"*{later.key}*") == []
    assert await full.entries() == 0
    assert not await full.redis.exists(full.keys.delayed, full.keys.expiring)


async def test_jobs_still_run_and_end(full: Queue, eventually: Any) -> None:
    keys = [await full.submit() for _ in range(6)]
    await fill(full)
    jobs = await full.claim(slots=6)
    assert [job.key for job in jobs] == keys
    small, large, failed, retried, released, cancelled = jobs
    assert await full.renew(*jobs) == {}
    await full.report(says(small, 1, "half", 0.5))
    await full.cancel(cancelled.key)
    settlements = [succeed(small, SMALL_RESULT), succeed(large, LARGE_RESULT)]
    settlements += [Finish(failed.key, failed.fence, 1, State.DEAD, LARGE_ERROR, failed.entry)]
    assert await full.settle(*settlements, retry(retried, LARGE_ERROR), release(released), release(cancelled)) == []
    assert await full.outcome(large.key) == (State.SUCCEEDED, LARGE_RESULT)

    async def promoted() -> bool:
        return await full.promote() == 1

    await eventually(promoted)
    assert len(await full.claim(slots=6)) == 2
    assert len(await full.reclaim()) == 2


async def test_a_running_job_without_its_entry_is_repaired(full: Queue) -> None:
    job = await full.running()
    await full.delete_entry(job.key)
    await fill(full)
    assert await full.renew(job) == {}
    assert await full.entry_exists(job.key)


async def test_a_worker_can_start_so_that_it_can_empty_the_queue(full: Queue) -> None:
    key = await full.submit()
    await fill(full)
    newcomer = Broker(full.broker.url)
    await newcomer.prepare(QUEUE)
    assert [job.key for job in await Queue(newcomer).claim()] == [key]
    await newcomer.close()


async def test_groups_are_made_anew(full: Queue) -> None:
    key = await full.submit()
    await fill(full)
    await full.destroy_groups()
    assert [job.key for job in await full.claim()] == [key]


async def test_a_queue_first_used_then_is_listed_later(full: Queue) -> None:
    await fill(full)
    await full.broker.prepare("other")
    assert await queues.names(full.broker) == [QUEUE]
    await full.redis.config_set("maxmemory", 0)
    await full.broker.prepare("other")
    assert await queues.names(full.broker) == ["other", QUEUE]


async def test_what_adds_work_is_refused(full: Queue) -> None:
    job = await full.make(State.DEAD)
    await fill(full)
    with pytest.raises(BrokerFull):
        await full.requeue(job.key)
    assert await full.state(job.key) is State.DEAD


async def test_a_refusal_after_an_attempt_without_an_answer_proves_nothing(broker: Broker) -> None:
    answers = iter([redis.ConnectionError("lost"), redis.exceptions.OutOfMemoryError("OOM")] * 2)

    async def write(_: Any) -> None:
        raise next(answers)

    with pytest.raises(BrokerUnavailable, match="accepts no more writes: OOM; but an earlier attempt was not answered"):
        await broker.ask("any", write)


# Connections


async def test_idle_connections_are_kept_alive(broker: Broker) -> None:
    proxy = Proxy(broker.url)
    await proxy.start()
    through = Broker(proxy.url)
    client = through.client(through.url)
    connection = await client.connection_pool.get_connection()
    assert connection._writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    await client.connection_pool.release(connection)
    await through.close()
    await proxy.close()


# Closing


async def test_a_server_found_just_before_a_failover_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker("redis://127.0.0.1:1")

    async def found_before(_: str) -> str:
        with suppress(BrokerUnavailable), broker.translated():  # the heartbeat's thread notices the failover meanwhile
            raise ConnectionError("it is gone")
        return "redis://127.0.0.1:1/0"

    async def found_after(_: str) -> str:
        return "redis://127.0.0.1:2/0"

    async def connection_of(scripts: ScriptConnection) -> ScriptConnection:
        return scripts

    broker._schema_checked = True
    monkeypatch.setattr(broker, "server", found_before)
    before = await broker.call(QUEUE, connection_of)
    broker._schema_checked = True
    monkeypatch.setattr(broker, "server", found_after)
    assert await broker.call(QUEUE, connection_of) is not before
    await broker.close()


async def test_closing_twice_is_harmless(broker_url: str) -> None:
    broker = Broker(broker_url)
    broker.connections.reader(broker.url)
    await broker.prepare(QUEUE)
    await broker.close()
    await broker.close()


async def test_a_lease_keeper_is_told_when_the_server_is_down(tmp_path: Path) -> None:
    keeper = LeaseKeeper(Broker(f"unix://{tmp_path}/none"), "w1")
    with pytest.raises(BrokerUnavailable):
        keeper.renew(QUEUE, [], b"", LONG_MS)
    keeper.close()


async def test_listening_in_vain_piles_nothing_up(tmp_path: Path) -> None:
    broker = Broker(f"unix://{tmp_path}/none")
    listener = Subscription(broker)
    for _ in range(3):
        with pytest.raises(BrokerUnavailable):
            await listener.subscribe(["channel"])
    assert not broker.connections._readers
    await broker.close()


async def test_a_subscription_that_is_closed_while_channels_are_added_has_them_when_it_is_back(broker: Broker) -> None:
    listener = Subscription(broker)
    await listener.subscribe(["first"])
    async with listener._connecting:
        adding = asyncio.create_task(listener.subscribe(["second"]))
        await asyncio.sleep(0)  # it waits for its turn
        await listener.close()
    await adding
    messages = listener.messages()
    assert [(await anext(messages))[0] for _ in range(2)] == ["first", "second"]
    await listener.close()


@pytest.mark.parametrize("error", [RuntimeError("the handler is closed"), AttributeError("'NoneType'")], ids=repr)
async def test_a_subscription_whose_transport_was_closed_meanwhile_comes_back(broker: Broker, error: Exception) -> None:
    listener = Subscription(broker)
    await listener.subscribe(["channel"])

    async def closed(**_: object) -> None:
        raise error

    listener._pubsub.get_message = closed
    with pytest.raises(BrokerUnavailable):
        await anext(listener.messages())
    assert (await anext(listener.messages()))[0] == "channel"
    await listener.close()
