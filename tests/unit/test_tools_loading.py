"""Loading: which modules, what is collected from them, and the errors."""

import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from taskserver.domain.messages import BaseMessage, ToolExecutionMessage
from taskserver.errors import ConfigError, ToolInvalid, ToolNotFound
from taskserver.tools import BaseConsumer, Context, RunningToolbox, Toolbox, ToolExecutionConsumer, load, tool
from taskserver.tools.consumer import no_consumer


@tool
async def fetch() -> None: ...


@tool(name="fetch")
async def another_fetch() -> None: ...


class Ping(BaseMessage): ...


class PingConsumer(BaseConsumer[Ping]):
    def __init__(self, host: str = "here") -> None:
        self.host = host

    async def process(self, message: Ping, ctx: Context) -> None: ...


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An empty folder; modules imported from it are removed afterwards."""
    modules, path = set(sys.modules), list(sys.path)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(folder: Path, name: str, text: str) -> None:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        "from taskserver.tools import *\nfrom taskserver.domain.messages import BaseMessage\n" + dedent(text)
    )


TOOL = """
@tool
async def {0}(x: int) -> int:
    return x
"""


def test_a_toolbox_knows_its_tools_and_consumers():
    box = Toolbox.of(fetch, PingConsumer)
    assert box.tool("fetch").target is fetch
    assert box.consumers == {"Ping": PingConsumer, "ToolExecutionMessage": ToolExecutionConsumer}


def test_an_empty_toolbox_still_runs_tools():
    assert set(Toolbox.of().consumers) == {ToolExecutionMessage.message_type}


def test_a_consumer_may_be_an_instance():
    consumer = Toolbox.of(PingConsumer("there")).consumers["Ping"]
    assert isinstance(consumer, PingConsumer)
    assert consumer.host == "there"


def test_a_users_tool_consumer_replaces_ours():
    class Audited(ToolExecutionConsumer): ...

    assert Toolbox.of(fetch, Audited).consumers["ToolExecutionMessage"] is Audited


def test_the_same_tool_twice_is_one_tool():
    assert list(Toolbox.of(fetch, fetch).tools) == ["fetch"]


def test_two_tools_of_one_name_are_refused():
    with pytest.raises(ToolInvalid, match=r"two tools are called 'fetch': 'fetch' \(.*:\d+\) and 'another_fetch' \("):
        Toolbox.of(fetch, another_fetch)


def test_two_consumers_of_one_message_are_refused():
    with pytest.raises(ToolInvalid, match="two consumers for messages of type 'Ping'"):
        Toolbox.of(PingConsumer, PingConsumer("there"))


@pytest.mark.parametrize("stranger", [len, int, "fetch", BaseConsumer])
def test_strangers_are_refused(stranger: Any):
    with pytest.raises(ToolInvalid, match="neither a tool nor a consumer"):
        Toolbox.of(stranger)


def test_a_consumer_that_needs_arguments_is_refused():
    class Demanding(PingConsumer):
        def __init__(self, host: str) -> None: ...

    with pytest.raises(ToolInvalid, match="__init__ needs a default for 'host'"):
        Toolbox.of(Demanding)


async def test_what_cannot_be_instantiated_is_refused_when_the_worker_starts():
    class Broken(PingConsumer):
        def __init__(self) -> None:
            raise OSError("no network")

    box = Toolbox.of(Broken)
    with pytest.raises(ToolInvalid, match="could not be instantiated: OSError: no network"):
        await RunningToolbox(box).start()


def test_what_is_missing_is_not_found():
    with pytest.raises(ToolNotFound, match=r"unknown tool 'fetsh'; did you mean 'fetch'\?"):
        Toolbox.of(fetch).tool("fetsh")
    error = no_consumer("Pong", Toolbox.of(PingConsumer).consumers)
    assert str(error) == "no consumer is registered for message type 'Pong', only for Ping, ToolExecutionMessage"


# Modules


def test_a_module_is_loaded_by_its_dotted_name(folder: Path):
    write(folder, "agent_a/__init__.py", "")
    write(folder, "agent_a/tools.py", TOOL.format("one") + TOOL.format("two"))
    assert list(load(["agent_a.tools"], folder).tools) == ["one", "two"]


@pytest.mark.parametrize("name", ["tools_b.py", "./tools_b.py", "{folder}/tools_b.py"])
def test_a_module_is_loaded_by_its_file(folder: Path, name: str):
    write(folder, "tools_b.py", TOOL.format("one"))
    assert list(load([name.format(folder=folder)], folder).tools) == ["one"]


def test_a_file_in_a_package_is_that_packages_module(folder: Path):
    write(folder, "agent_c/__init__.py", "")
    write(folder, "agent_c/shared.py", TOOL.format("one"))
    write(folder, "agent_c/tools.py", "from .shared import one")
    box = load(["agent_c/tools.py", "agent_c.shared"], folder)
    assert box.tool("one").target.__module__ == "agent_c.shared"


def test_the_current_folder_is_searched_by_default(folder: Path, monkeypatch: pytest.MonkeyPatch):
    write(folder, "tools_d.py", TOOL.format("one"))
    monkeypatch.chdir(folder)
    assert list(load(["tools_d"]).tools) == ["one"]


def test_consumers_are_collected_but_not_their_bases(folder: Path):
    write(
        folder,
        "tools_e.py",
        """
        from abc import abstractmethod
        from typing import TypeVar
        M = TypeVar("M", bound=BaseMessage)
        class Mail(BaseMessage): ...
        class Abstract(BaseConsumer[Mail]): ...
        class Generic(BaseConsumer[M]):
            async def process(self, message, ctx): ...
        class Mailer(Generic[Mail]): ...
        """,
    )
    consumers = load(["tools_e"], folder).consumers
    assert {tag: consumer.__name__ for tag, consumer in consumers.items()} == {
        "Mail": "Mailer",
        "ToolExecutionMessage": "ToolExecutionConsumer",
    }


def test_a_tool_with_a_bad_annotation_is_refused_when_it_is_loaded(folder: Path):
    write(folder, "tools_f.py", "@tool\ndef run(x: 'Missing'): ...")
    with pytest.raises(ToolInvalid, match=r"'run' \(.*tools_f.py:3\): could not resolve an annotation"):
        load(["tools_f"], folder)


def test_a_bad_declaration_says_where_it_is(folder: Path):
    write(folder, "tools_g.py", "@tool(timeout=0)\ndef run(): ...")
    with pytest.raises(ToolInvalid, match=r"tools_g.py:3\): timeout must be"):
        load(["tools_g"], folder)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("tools_hh", r"there is no module 'tools_hh'; did you mean 'tools_h'\?"),
        ("pack_h.tolls", r"there is no module 'pack_h.tolls'; did you mean 'pack_h.tools'\?"),
        ("zzz.yyy", "there is no module 'zzz.yyy'; searched in .* and the installed packages"),
        ("./tool_h.py", r"cannot load tools from .*tool_h.py: there is no such file; did you mean 'tools_h.py'\?"),
        ("os:system", "os:system cannot be a tool: name a class or a function that is written in Python"),
        ("..tools_h", "is not a module"),
        ("", "'' is not a module"),
    ],
)
def test_a_missing_module_is_named_with_the_nearest(folder: Path, name: str, says: str):
    write(folder, "tools_h.py", "")
    write(folder, "pack_h/__init__.py", "")
    write(folder, "pack_h/tools.py", "")
    with pytest.raises(ConfigError, match=says):
        load([name], folder)


def test_a_file_that_shares_its_name_with_a_loaded_module_is_refused(folder: Path):
    write(folder, "json.py", "")
    with pytest.raises(ConfigError, match="another module is called 'json'; rename the file"):
        load(["./json.py"], folder)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("import missing_library_i", ModuleNotFoundError),
        ("1 / 0", ZeroDivisionError),
        ("def", SyntaxError),
        ("raise SystemExit(2)", SystemExit),
    ],
)
def test_a_module_that_fails_shows_its_own_traceback(folder: Path, text: str, cause: type[BaseException]):
    write(folder, "tools_i.py", text)
    with pytest.raises(ConfigError) as caught:
        load(["tools_i"], folder)
    message = str(caught.value)
    assert type(caught.value.__cause__) is cause
    assert message.startswith("module 'tools_i' failed to import:\n")
    assert 'tools_i.py", line 3' in message
    assert cause.__name__ in message
    assert "importlib" not in message
    assert "modules.py" not in message
