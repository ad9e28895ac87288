"""``taskserver up``, ``down`` and ``ps``: everything that a configuration file declares, on this machine."""

from __future__ import annotations

import time

import click

from taskserver.cli.options import config_file_option, json_option, tools_option
from taskserver.cli.screen import Column, Styled, note, show_json, show_table
from taskserver.config.file import load
from taskserver.fleet.background import launch_up
from taskserver.fleet.planning import plan_servers
from taskserver.fleet.up import run_up
from taskserver.fleet.up_state import UpFolder, UpState
from taskserver.observability.phrases import age, listed


@click.command()
@config_file_option(required=True)
@tools_option
@click.option("--detach", "-d", is_flag=True, help="Return when everything is ready; taskserver down stops it.")
def up(config_file: str, modules: tuple[str, ...], detach: bool) -> None:
    """Start everything that a configuration file declares, on this machine.

    An embedded broker runs as long as its task servers. Ctrl-C lets running jobs finish; a second Ctrl-C hands them
    back to other workers. SIGHUP restarts the replicas one at a time. --tools applies to task servers without tools.
    """
    if not detach:
        run_up(config_file, modules, note)
        return
    plan_servers(load(config_file), modules)  # shows errors in the file at once
    folder = UpFolder.of(config_file)
    if folder.read_state() is not None:
        raise folder.already_up(config_file)
    log = launch_up(config_file, modules)
    for each in state.servers if (state := folder.read_state()) else []:
        note(f"task server {each.task_server}: {each.ready} of {each.wanted} ready, {listed('queue', each.queues)}")
    note(f"{config_file} is up and logs to {log}")


@click.command()
@config_file_option(required=True)
@click.option("--now", is_flag=True, help="Do not wait for running jobs: hand them back to other workers.")
def down(config_file: str, now: bool) -> None:
    """Stop what taskserver up has started, and wait until it has ended."""
    ended = UpFolder.of(config_file).stop(hurry=now)
    note(f"{config_file} is down" if ended else f"{config_file} is not up")


@click.command()
@config_file_option()
@json_option
def ps(config_file: str | None, as_json: bool) -> None:
    """List the task servers that taskserver up runs on this machine.

    Without a configuration file, those of all files in this project.
    """
    folders = UpFolder.all() if config_file is None else [UpFolder.of(config_file)]
    states = [state for folder in folders if (state := folder.read_state()) is not None]
    if as_json:
        show_json([row for state in states for row in _objects(state)])
        return
    columns = [
        Column("TASK SERVER"),
        Column("READY", right=True),
        Column("SINCE"),
        Column("PID", right=True),
        Column("QUEUES", shrinks=True),
        Column("FILE", shrinks=True),
    ]
    show_table(columns, [row for state in states for row in _rows(state)], "nothing is up")


def _objects(state: UpState) -> list[dict[str, object]]:
    return [
        {
            "task_server": each.task_server,
            "replicas": each.wanted,
            "ready": each.ready,
            "pid": state.pid,
            "replica_pids": each.replica_pids,
            "since": state.since,
            "seconds": round(time.time() - state.since, 3),
            "queues": each.queues,
            "broker": each.broker,
            "file": state.file,
        }
        for each in state.servers
    ]


def _rows(state: UpState) -> list[tuple[object, ...]]:
    return [
        (
            each.task_server,
            Styled(f"{each.ready}/{each.wanted}", "green" if each.ready >= each.wanted else "yellow"),
            age(state.since, roughly=True),
            state.pid,
            ", ".join(each.queues),
            state.file,
        )
        for each in state.servers
    ]
