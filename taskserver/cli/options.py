"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from taskserver.cli.param_types import ModuleName
from taskserver.cli.stdout import keep_stdout

if TYPE_CHECKING:
    from taskserver.tools import Toolbox

F = TypeVar("F", bound=Callable[..., Any])


broker_option = click.option(
    "--broker",
    "broker_url",
    metavar="URL",
    help="URL of the broker. Keep passwords out of it: set TASKSERVER_BROKER_URL. [default: an embedded broker]",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")
tools_option = click.option(
    "--tools",
    "modules",
    type=ModuleName(),
    multiple=True,
    envvar="TASKSERVER_TOOLS",
    metavar="MODULE",
    help="Module or file with tools, such as my_agent.tools or ./tools.py; repeatable. "
    "[env: TASKSERVER_TOOLS, separated by commas]",
)
task_server_option = click.option("--task-server", metavar="NAME", help="Task server of the configuration file.")
queue_filter = click.option("--queue", "-q", metavar="NAME", help="Only jobs of this queue.")
tool_filter = click.option("--tool", metavar="NAME", help="Only jobs of this tool.")
error_filter = click.option("--error", metavar="TEXT", help="Only errors whose type or message contains this text.")


def config_file_option(*, required: bool = False) -> Callable[[F], F]:
    """``--config-file``, the same for every command that reads one."""
    return click.option(
        "--config-file", "-f", required=required, metavar="FILE", help="Configuration file, such as config.yaml."
    )


def limit_option(default: int = 50) -> Callable[[F], F]:
    """``--limit``: the maximum number to show."""
    return click.option(
        "--limit",
        type=click.IntRange(min=1),
        default=default,
        show_default=True,
        metavar="N",
        help="Maximum number to show.",
    )


def named_modules(modules: tuple[str, ...]) -> tuple[str, ...]:
    """The modules with tools.

    Raises:
        click.UsageError: if none is named.
    """
    wanted = tuple(filter(None, modules))
    if not wanted:
        raise click.UsageError("no tools: name their module with --tools my_agent.tools or in TASKSERVER_TOOLS")
    return wanted


def load_tools(modules: tuple[str, ...]) -> Toolbox:
    """The tools and consumers of the modules, for a command that prints data: what the modules print goes to stderr.

    Raises:
        click.UsageError: if no module is named.
        ConfigError: if a module cannot be loaded, or contains neither tools nor consumers.
        ToolInvalid: if a tool is not declared correctly.
    """
    from taskserver.tools import load_some

    named = named_modules(modules)
    keep_stdout()
    return load_some(named)
