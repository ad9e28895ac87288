"""What a type checker knows about a submitted tool: the type of its result, and wrong uses."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mypy import api

HEAD = """
import asyncio
from taskserver import Client, SyncClient, tool

@tool
async def double(number: int) -> int: return 2 * number

@tool(timeout=5)
def join(words: list[str]) -> str: return " ".join(words)

@tool
class Counter:
    async def run(self, text: str) -> dict[str, int]: return {}

@tool
class Length:
    def run(self, text: str) -> float: return 1.0

async def main(client: Client, sync: SyncClient) -> None:
"""

REVEALED = {
    "await client.submit(double, {'number': 1})": "Job[int]",
    "await (await client.submit(double, {'number': 1})).result()": "int",
    "await client.submit(join, {'words': []}, priority='high')": "Job[str]",
    "await client.submit(Counter, {'text': ''})": "Job[dict[str, int]]",
    "await client.submit(Length, {'text': ''})": "Job[float]",
    "await client.submit('double', {'number': 1})": "Job[Any]",
    "sync.submit(double, {'number': 1})": "SyncJob[int]",
    "sync.submit(join, {'words': []}).result()": "str",
    "sync.submit(Counter, {'text': ''})": "SyncJob[dict[str, int]]",
    "sync.submit(Length, {'text': ''})": "SyncJob[float]",
    "await client.submit_many([(double, {'number': n}) for n in range(3)])": "list[Job[int]]",
    "await client.submit_many([(join, {'words': []}), (join, {'words': ['a']})])": "list[Job[str]]",
    "await client.submit_many([(Counter, {'text': ''})], queue='q')": "list[Job[dict[str, int]]]",
    "await client.submit_many([(Length, {'text': ''})])": "list[Job[float]]",
    "await client.submit_many([('double', {'number': 1}), (join, {'words': []})])": "list[Job[Any]]",
    "sync.submit_many([(double, {'number': 1})])": "list[SyncJob[int]]",
    "await double(3)": "int",
    "join(['a'])": "str",
}

REFUSED = {
    "text: str = await (await client.submit(double, {'number': 1})).result()": "Incompatible types in assignment",
    "await client.submit(double, {'number': 1}, prority=1)": "No overload variant",
    "await client.submit(double, {'number': 1}, delay='soon')": "No overload variant",
    "await client.submit(double, {'number': 1}, on_existing='again')": "No overload variant",
    "await client.submit_many([(double, {'number': 1})], prority=1)": "No overload variant",
    "from taskserver import Clint": "has no attribute",
    "await client.submit(5)": "No overload variant",
    "await client.submit(double, [1])": "No overload variant",
    "await double('3')": "incompatible type",
    "client.submit(double, {'number': 1})": "must be used",
}


LINES = [f"reveal_type({line})" for line in REVEALED] + list(REFUSED)
FIRST = HEAD.count("\n") + 1


def write_program(folder: Path) -> Path:
    """A program of all lines."""
    program = folder / "program.py"
    program.write_text(HEAD + "".join(f"    {line}\n" for line in LINES))
    return program


def messages(folder: Path) -> dict[str, str]:
    """Mypy's message for each line."""
    program = write_program(folder)
    report, errors, _ = api.run(
        ["--strict", "--enable-error-code=unused-awaitable", "--enable-error-code=unused-coroutine", "--config-file=",
         "--no-error-summary", "--cache-dir", str(folder / "cache"), str(program)]
    )  # fmt: skip
    assert not errors
    shown: dict[str, str] = {}
    for line in report.splitlines():
        path, number, text = line.split(":", 2)
        if Path(path).name == "program.py":
            where = LINES[int(number) - FIRST]
            shown[where] = shown.get(where, "") + text
    return shown


def test_a_tools_result_has_its_type_and_wrong_use_is_an_error(tmp_path: Path) -> None:
    shown = {
        line: re.sub(r"builtins\.|taskserver\.client\.(job|sync)\.", "", text)
        for line, text in messages(tmp_path).items()
    }
    expected = {f"reveal_type({line})": f'"{result}"' for line, result in REVEALED.items()} | REFUSED
    assert {line: text for line, text in shown.items() if expected[line] not in text} == {}
    assert shown.keys() == expected.keys()


def test_pyright_agrees(tmp_path: Path) -> None:
    """It is a program of Node.js, so it is not among what the tests install."""
    pyright = shutil.which("pyright")
    if pyright is None:
        pytest.skip("pyright is not on PATH: pip install pyright")
    command = [pyright, "--outputjson", "--pythonpath", sys.executable, str(write_program(tmp_path))]
    done = subprocess.run(command, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if not done.stdout.startswith("{"):
        pytest.skip(f"pyright does not run here: {done.stderr.strip().rpartition(chr(10))[2]}")
    found = json.loads(done.stdout)["generalDiagnostics"]
    revealed = {
        LINES[each["range"]["start"]["line"] + 1 - FIRST]: each["message"].rpartition(" is ")[2].strip('"')
        for each in found
        if each["severity"] == "information"
    }
    assert revealed == {f"reveal_type({line})": result for line, result in REVEALED.items()}
    assert {LINES[each["range"]["start"]["line"] + 1 - FIRST] for each in found if each["severity"] == "error"} == set(
        REFUSED
    )
