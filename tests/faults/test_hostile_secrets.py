"""Secrets are planted wherever people put them; then everything that the system says and keeps is searched for them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from taskserver.domain.secrets import MASK
from tests.acceptance.cli import Cli
from tests.brokers import Server, kinds

SECRETS = {
    "broker": "urlpw-8d1f0c",
    "name": "byname-77ab21",
    "type": "bytype-c91e5d",
    "nested": "nested-5e0b44",
    "told": "told-1f9d3a",
    "given": "given-b2c8e6",
    "message": "own-90c3fa",
    "dsn": "dsnpw-3a7e19",
    "escaped": 'esc"aped\\-4c2d',
    "number": "7340912855",
}

TOOLS = """
import logging

from pydantic import BaseModel, SecretStr

from taskserver import BaseConsumer, BaseMessage, tool

log = logging.getLogger("my_agent")


class Account(BaseModel):
    user: str
    code: SecretStr


@tool(max_retries=1, retry_delay=0.01)
async def login(
    password: str, pin: SecretStr, account: Account, door_code: str, gate, api_key: str, token: int, dsn: str, ctx
):
    in_clear = [pin.get_secret_value(), account.code.get_secret_value()]
    everything = [password, *in_clear, door_code, gate, api_key, token, dsn]
    log.warning("trying %s", everything)
    ctx.logger.info("as %s", api_key)
    try:
        raise ConnectionError(f"{api_key} was refused at {dsn}")
    except ConnectionError:
        log.exception("with %s", pin.get_secret_value())
        raise ValueError(f"nobody comes in with {everything}")


@tool(max_retries=0)
async def fussy(pin: SecretStr, tries: int):
    raise RuntimeError("is not reached")


class Letter(BaseMessage):
    text: str
    seal: SecretStr


class Letters(BaseConsumer[Letter]):
    async def process(self, message, ctx):
        raise ValueError("bad seal " + message.seal.get_secret_value())

    def should_retry(self, error, message):
        raise KeyError(message.seal.get_secret_value())

    async def on_failure(self, error, message):
        raise KeyError(message.seal.get_secret_value())
"""

AGENT = """
import asyncio
import sys

from pydantic import SecretStr

from secret_tools import Account, Letter, fussy, login
from taskserver import ArgumentsInvalid, Client, JobError

SECRETS = dict(zip(sys.argv[1::2], sys.argv[2::2]))


async def main():
    async with Client() as client:
        args = {
            "password": SECRETS["name"],
            "pin": SECRETS["type"],
            "account": Account(user="ada", code=SecretStr(SECRETS["nested"])),
            "door_code": SECRETS["told"],
            "gate": SecretStr(SECRETS["given"]),
            "api_key": SECRETS["escaped"],
            "token": int(SECRETS["number"]),
            "dsn": f"postgresql://app:{SECRETS['dsn']}@db/app",
        }
        try:
            await client.submit(fussy, {"pin": args["pin"], "tries": "many"})
        except ArgumentsInvalid as error:
            print(error)
        letter = Letter(text="x", seal=SecretStr(SECRETS["message"]))
        jobs = [
            await client.submit(login, args),
            await client.submit("login", args | {"pin": SecretStr(args["pin"])}),
            await client.submit("fussy", {"pin": SecretStr(args["pin"]), "tries": "many"}),
            await client.send(letter, max_retries=0),
        ]
        for job in jobs:
            try:
                await job.result(timeout=60)
            except JobError as error:
                print(job.id, error, error.traceback)
                print(job.id, await job.status())
        print("JOBS", *(job.id for job in jobs))


asyncio.run(main())
"""


@pytest.fixture
def server() -> Iterator[Server]:
    """A broker whose only user has a password."""
    server = Server(kinds()[max(kinds())]).start()
    with redis.Redis(unix_socket_path=str(server.socket)) as admin:
        admin.execute_command("ACL", "SETUSER", "agent", "on", f">{SECRETS['broker']}", "~*", "&*", "+@all")
    server.url = f"unix://agent:{SECRETS['broker']}@{server.socket}"
    yield server
    server.close()


@pytest.fixture
def cli(server: Server, tmp_path: Path) -> Iterator[Cli]:
    (tmp_path / "secret_tools.py").write_text(TOOLS)
    (tmp_path / "agent.py").write_text(AGENT)
    cli = Cli(tmp_path, {"TASKSERVER_BROKER_URL": server.url, "TASKSERVER_SECRET_NAMES": "door_code, floorCode"})
    yield cli
    cli.close()


def kept(server: Server) -> str:
    """Everything that the broker keeps, but for the messages themselves."""
    found = []
    with redis.Redis(unix_socket_path=str(server.socket)) as admin:
        for key in sorted(admin.scan_iter(count=1000)):
            if b":msg:" not in key:
                found.append((key, admin.dump(key)))
                readers = {b"hash": admin.hgetall, b"string": admin.get, b"list": lambda k: admin.lrange(k, 0, -1)}
                found.append((key, readers.get(admin.type(key), lambda _: None)(key)))
    return repr(found)


def test_no_secret_is_shown_or_kept_anywhere_but_in_the_message(cli: Cli, server: Server) -> None:
    worker = cli.start("worker", "--tools", "secret_tools", "--loglevel", "debug")
    worker.wait_for("is ready")
    planted = [word for pair in SECRETS.items() for word in pair]
    agent = cli.run_program(sys.executable, "agent.py", *planted)
    assert agent.code == 0, agent.err
    jobs = agent.out.rpartition("JOBS ")[2].split()
    shown = {"agent": agent.out + agent.err}
    for command in (
        ["job", "list"], ["job", "list", "--json"], ["dead", "list", "--json"], ["doctor", "--json"], ["queue", "list"],
        *(["job", what, jobs[0]] for what in ("status", "result", "events")),
        *(["job", what, job, "--json"] for job in jobs for what in ("status", "result")),
    ):  # fmt: skip
        done = cli.run(*command, TASKSERVER_DEBUG="1")
        shown[" ".join(command)] = done.out + done.err
    shown["a broker that refuses"] = refused(cli, server)
    worker.signal(15)
    shown["worker"] = "".join(worker.end().err)
    shown["broker"] = kept(server)
    leaks = {
        (what, where): text[max(0, text.find(secret) - 200) : text.find(secret) + 40]
        for where, text in shown.items()
        for what, secret in SECRETS.items()
        if secret in text or secret.encode("unicode_escape").decode() in text
    }
    assert leaks == {}
    for where in (
        "agent",
        "worker",
        "broker",
        "dead list --json",
        f"job status {jobs[0]}",
        f"job result {jobs[0]} --json",
    ):
        assert MASK in shown[where], f"nothing was masked in {where}, so nothing is proved"
    assert "trying [" in shown["worker"]
    assert "hook failed" in shown["worker"]


def refused(cli: Cli, server: Server) -> str:
    """What is printed when the password is wrong, and when the broker is not there."""
    output = ""
    for url in (
        server.url.replace("agent:", "agent:x"),
        server.url + "x",
        server.url + "?nonsense=1",
        "redis//" + server.url,
    ):
        for command in (["doctor"], ["submit", "login"]):
            done = cli.run(*command, "--broker", url, TASKSERVER_DEBUG="1", TASKSERVER_PATIENCE="0.1")
            assert done.code, done
            output += done.out + done.err
    return output
