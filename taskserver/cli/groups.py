"""Groups of commands: they suggest names, import commands only on use, and may have a default."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

import click
from click.shell_completion import CompletionItem

from taskserver.domain.names import did_you_mean


class CommandEntry(NamedTuple):
    """A command that is not imported yet.

    Attributes:
        target: Where it is, as ``module:object``.
        help: Its line in the list of commands.
    """

    target: str
    help: str


class SuggestingGroup(click.Group):
    """A group that lists its commands in the order in which they were added, and suggests the nearest name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order in which they were added."""
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Print the help on stderr if no command is named."""
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(2)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments name.

        Raises:
            click.UsageError: if there is none, with the nearest name.
        """
        name = args[0]
        if not name.startswith("-") and name not in self.list_commands(ctx):
            ctx.fail(f"no command {name!r}{did_you_mean(name, self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)


class LazyGroup(SuggestingGroup):
    """A group whose commands are looked up in a table and imported on use.

    Args:
        entries: The commands by name, in the order in which they are listed.
    """

    def __init__(self, *args: Any, entries: Mapping[str, CommandEntry], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.entries = entries

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the table."""
        return list(self.entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None if there is none of that name."""
        return self.load(cmd_name) if cmd_name in self.entries else None

    def load(self, name: str) -> click.Command:
        """Import a command of the table."""
        module, _, variable = self.entries[name].target.partition(":")
        command: click.Command = getattr(import_module(module), variable)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the names of commands from the table, without importing any, and the group's own options."""
        found = [
            CompletionItem(name, help=entry.help) for name, entry in self.entries.items() if name.startswith(incomplete)
        ]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in self.entries.items()])


class DefaultGroup(LazyGroup):
    """A group that is also a command: without a subcommand's name, its options are those of ``default``.

    Args:
        default: Name of the subcommand that runs when none is named.
    """

    def __init__(self, *args: Any, default: str, **kwargs: Any) -> None:
        kwargs.setdefault("subcommand_metavar", "[COMMAND]")
        super().__init__(*args, **kwargs)
        self.default = default

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default's name in front of arguments that name no subcommand."""
        completing_first = not args and ctx.resilient_parsing
        if not completing_first and (not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names)):
            args = [self.default, *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the names of commands and the options of the default command."""
        if incomplete.startswith("-"):
            return self.load(self.default).shell_complete(ctx, incomplete)
        return super().shell_complete(ctx, incomplete)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options of the default command, and the list of commands."""
        self.load(self.default).format_options(ctx, formatter)
        self.format_commands(ctx, formatter)
