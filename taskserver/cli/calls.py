"""A tool call as the command line has it: its arguments as text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from taskserver.cli.options import load_tools
from taskserver.cli.screen import note
from taskserver.client.client import Client
from taskserver.client.job import Job
from taskserver.errors import ArgumentsInvalid, JobFailed
from taskserver.tools import guessed, parse_key_values


@contextmanager
def explaining_guesses(pairs: tuple[str, ...]) -> Iterator[None]:
    """Say of arguments that do not match the tool whether their types were guessed; the error is raised anyway."""
    try:
        yield
    except JobFailed as error:
        wrong = error.error_message if error.error_type == ArgumentsInvalid.__name__ else ""
        names = [name for name in guessed(pairs, parse_key_values(None, pairs)) if repr(name) in wrong]
        if names:
            note(
                f"without --tools, {', '.join(names)} {'was' if len(names) == 1 else 'were'} taken as JSON: for text, "
                f"put it in double quotes too, as in {names[0]}='\"…\"', or name the tool's module with --tools"
            )
        raise


async def submit_call(
    client: Client, name: str, pairs: tuple[str, ...], modules: tuple[str, ...], options: dict[str, Any]
) -> Job[Any]:
    """Submit the call of a tool, with its own types if its modules are named."""
    given = {option: value for option, value in options.items() if value not in (None, ())}
    if not modules:
        return await client.submit(name, parse_key_values(None, pairs), **given)
    tool = load_tools(modules).tool(name)
    job: Job[Any] = await client.submit(tool.target, parse_key_values(tool, pairs), **given)
    job.returns = Any  # its result as plain data, since it is only printed
    return job
