"""``taskserver tools``, ``broker`` and ``doctor``."""

from __future__ import annotations

import re

import pytest
import redis

from tests.acceptance.cli import Cli


def test_tools_as_a_table(cli: Cli) -> None:
    head, row, *_ = cli.ok("tools", "list", "--tools", "agent_tools").out.splitlines()
    assert head.split() == ["TOOL", "ARGUMENTS", "DESCRIPTION"]
    assert re.split(" {2,}", row) == ["add", "a: int, b: int = 1", "Add two numbers."]


@pytest.mark.parametrize(
    ("form", "definition"),
    [
        ("json-schema", lambda tool: tool["parameters"]),
        ("openai", lambda tool: tool["function"]["parameters"]),
        ("anthropic", lambda tool: tool["input_schema"]),
        ("mcp", lambda tool: tool["inputSchema"]),
    ],
)
def test_tools_for_agents(cli: Cli, form: str, definition: object) -> None:
    found = cli.ok("tools", "list", "--tools", "./agent_tools.py", "--format", form).json
    assert definition(found[0])["required"] == ["a"]  # type: ignore[operator]


def test_tools_as_json(cli: Cli) -> None:
    found = cli.ok("tools", "list", "--json", TASKSERVER_TOOLS="agent_tools, json").json
    assert [tool["name"] for tool in found] == ["add", "count", "echo", "fail", "hold", "steps"]


def test_a_module_that_fails_shows_its_own_traceback_and_nothing_else(cli: Cli) -> None:
    (cli.folder / "broken.py").write_text("def load():\n    raise KeyError('x')\n\nload()\n")
    for args in (("worker",), ("tools", "list"), ("submit", "add")):
        done = cli.run(*args, "--tools", "broken")
        assert (done.code, done.out) == (2, "")
        assert done.err.count("Traceback") == 1
        assert 'broken.py", line 2, in load' in done.err
        assert "KeyError: 'x'" in done.err
        assert "taskserver/" not in done.err


def test_a_module_without_tools_is_told(cli: Cli) -> None:
    (cli.folder / "empty.py").write_text("def forgotten(): ...\n")
    done = cli.run("worker", "--tools", "empty")
    assert done.code == 2
    assert "no tools found in empty: decorate a function with @tool" in done.err


GPU = """
from taskserver import tool

@tool
class gpu:
    def __init__(self): raise RuntimeError("no CUDA device is available")
    def run(self, x: int) -> int: return x + 1
"""


def test_only_a_worker_instantiates_a_class(cli: Cli) -> None:
    (cli.folder / "heavy.py").write_text(GPU)
    assert [tool["name"] for tool in cli.ok("tools", "list", "--tools", "heavy", "--json").json] == ["gpu"]
    cli.ok("submit", "gpu", "x=1", "--tools", "heavy")
    done = cli.run("worker", "--tools", "heavy")
    assert done.code == 2
    assert "heavy.py) could not be instantiated: RuntimeError: no CUDA device is available; repair that" in done.err
    assert "Traceback" not in done.err


NOISY = """
import atexit, ctypes, os, subprocess, sys, threading
from taskserver import tool

print("loading")
sys.__stdout__.write("loading\\n")
os.write(1, b"loading\\n")
ctypes.CDLL(None).printf(b"loading\\n")
subprocess.run(["echo", "loading"])
atexit.register(print, "leaving")


@tool
async def t(x: int) -> int: return x
"""


@pytest.mark.parametrize("args", [("tools", "list", "--format", "openai"), ("submit", "t", "x=1", "--json")])
def test_whatever_a_module_prints_data_stay_data(cli: Cli, args: tuple[str, ...]) -> None:
    (cli.folder / "noisy.py").write_text(NOISY)
    done = cli.run_fresh(*args, "--tools", "noisy")
    assert done.code == 0
    assert done.json
    assert done.err.count("loading") == 5
    assert done.err.count("leaving") == 1


def test_doctor_is_content_or_warns(cli: Cli) -> None:
    done = cli.ok("doctor")
    assert "✓ eviction     noeviction" in done.out
    assert "! persistence" in done.out
    assert "→ run CONFIG SET appendonly yes" in done.out
    levels = {finding["subject"]: finding["level"] for finding in cli.ok("doctor", "--json").json}
    assert (levels["server"], levels["persistence"]) == ("ok", "warning")


def test_doctor_finds_a_broker_that_would_lose_jobs(cli: Cli) -> None:
    with redis.Redis.from_url(cli.env["TASKSERVER_BROKER_URL"]) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            done = cli.run("doctor")
        finally:
            client.config_set("maxmemory-policy", "noeviction")
    assert done.code == 1
    assert "✗ eviction" in done.out
    assert "noeviction" in done.out


def test_doctor_tells_of_a_broker_that_is_down(cli: Cli) -> None:
    done = cli.run("doctor", "--broker", "redis://127.0.0.1:1")
    assert done.code == 4
    assert "✗ broker" in done.out
    assert "→ start it" in done.out
    assert cli.run("doctor", "--broker", "redis://127.0.0.1:1", "--json").json[0]["level"] == "error"


def test_the_embedded_broker_starts_stays_and_stops(embedded_cli: Cli) -> None:
    cli = embedded_cli
    assert cli.ok("broker", "status", "--json").json["running"] is False
    started = cli.ok("broker", "start", "--json").json
    assert (started["running"], started["stays"]) == (True, True)
    card = cli.ok("broker", "status").out
    assert "running" in card
    assert f"process {started['pid']}" in card
    assert cli.ok("broker", "stop").out == "embedded broker stopped\n"
    assert cli.ok("broker", "stop", "--json").json == {"stopped": False}


def test_without_a_url_a_worker_and_a_client_meet_at_the_embedded_broker(embedded_cli: Cli) -> None:
    cli = embedded_cli
    cli.worker()
    assert cli.ok("submit", "add", "a=1", "--wait").out == "2\n"
    done = cli.run("broker", "stop")
    assert done.code == 4
    assert "is in use" in done.err


def test_rights_are_printed_for_each_role_with_a_place_for_the_password(cli: Cli) -> None:
    done = cli.ok("broker", "acl")
    assert [line.split()[:3] for line in done.out.splitlines()] == [
        ["ACL", "SETUSER", role] for role in ("producer", "worker", "dashboard", "operator") for _ in range(2)
    ]
    for channels, roles in (("&ts:*:done* &ts:*:control*", 2), ("&ts:*", 2)):
        assert done.out.count(f"#SHA256_OF_THE_PASSWORD ~ts:* {channels} +") == roles
    assert "dashboard: shows queues and jobs" in done.err


def test_a_password_is_given_by_reference_and_only_its_hash_is_printed(cli: Cli, one_broker_url: str) -> None:
    done = cli.ok("broker", "acl", "--role", "worker", "--user", "w7", "--password", "env:PW", "--json", PW="hunter2")
    assert "hunter2" not in done.out + done.err
    (words, _) = done.json["worker"]["commands"]
    with redis.Redis.from_url(one_broker_url) as admin:
        admin.execute_command(*words)
        try:
            url = one_broker_url.replace("unix://", "unix://w7:hunter2@")
            assert cli.run("submit", "echo", "text=x", "--broker", url).code == 0
            assert cli.run("submit", "echo", "text=x", "--broker", url.replace("hunter2", "x")).code == 4
        finally:
            admin.acl_deluser("w7")


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--user", "x"], "--user requires exactly one --role"),
        (["--role", "worker", "--user", "x on nopass"], "is not a valid user name: use"),
        (["--password", "hunter2"], "--password must be a reference: write file:/path"),
        (["--role", "boss"], "'boss' is not one of"),
    ],
)
def test_rights_that_cannot_be_printed(cli: Cli, args: list[str], sentence: str) -> None:
    done = cli.run("broker", "acl", *args)
    assert (done.code, sentence in done.err, "hunter2" in done.err) == (2, True, False)
