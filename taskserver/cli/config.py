"""``taskserver config``: check a configuration file, show its values and their sources, and print its schema."""

from __future__ import annotations

import click

from taskserver.cli.config_values import values
from taskserver.cli.failures import USAGE
from taskserver.cli.groups import SuggestingGroup
from taskserver.cli.options import config_file_option, json_option
from taskserver.cli.screen import Column, show_json, show_table, show_text
from taskserver.config.file import Config, load
from taskserver.config.schema import schema as schema_of_the_file
from taskserver.config.values import as_written
from taskserver.errors import ConfigFileInvalid
from taskserver.fleet.planning import check_brokers
from taskserver.observability.phrases import count


@click.group(cls=SuggestingGroup)
def config() -> None:
    """Check a configuration file, and show its values.

    taskserver up starts everything that it declares; taskserver worker --config-file runs one of its task servers.
    """


@config.command()
@config_file_option(required=True)
@json_option
def check(config_file: str, as_json: bool) -> None:
    """List every error of a configuration file, with its line.

    Nothing is started or imported.
    """
    try:
        found = load(config_file)
        check_brokers(found)
    except ConfigFileInvalid as error:
        if not as_json:
            raise
        show_json([{"file": error.file, **problem._asdict()} for problem in error.problems])
        click.get_current_context().exit(USAGE)
    if as_json:
        show_json([])
    else:
        show_text(f"{config_file} is ok: {_summary(found)}")


@config.command()
@config_file_option(required=True)
@json_option
def show(config_file: str, as_json: bool) -> None:
    """Show every value that applies, and its source.

    A source is a line of the file, the environment or a default. Secrets are not shown.
    """
    found = load(config_file)
    check_brokers(found)
    rows = list(values(found))
    if as_json:
        show_json([row._asdict() for row in rows])
        return
    columns = [Column("KEY"), Column("VALUE", shrinks=True), Column("FROM")]
    show_table(columns, [(row.key, _text(row.value), row.source) for row in rows], "nothing")


@config.command()
def schema() -> None:
    """Print the JSON Schema of configuration files, for editors."""
    show_json(schema_of_the_file())


def _summary(config: Config) -> str:
    brokers = [f"{broker.name} ({'embedded' if broker.url is None else broker.type})" for broker in config.brokers]
    servers = [
        f"{server.name} ({count(server.replicas, 'replica')} on {_broker_of(config, server.broker)})"
        for server in config.task_servers
    ]
    parts = [f"{count(len(brokers), 'broker')}, {', '.join(brokers)}"] if brokers else []
    return "; ".join([*parts, f"{count(len(servers), 'task server')}, {', '.join(servers)}"])


def _broker_of(config: Config, name: str | None) -> str:
    if not config.brokers:
        return "the broker of TASKSERVER_BROKER_URL, else an embedded one"
    return name or config.brokers[0].name


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, dict):
        return " ".join(f"{key}={_text(each)}" for key, each in value.items())
    return as_written(value)
