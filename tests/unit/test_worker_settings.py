"""A worker setting is declared once, in ``WorkerSettings``; everything that is made from it, or repeats it, agrees."""

from __future__ import annotations

from typing import Any, get_type_hints

import click
import msgspec
import pytest

from taskserver import WorkerConfig
from taskserver.cli.worker.start import start
from taskserver.config.resources import TaskServer
from taskserver.config.schema import schema
from taskserver.config.settings import Settings, settings
from taskserver.config.texts import variable
from taskserver.config.worker_settings import Option, WorkerSettings
from taskserver.fleet.assignment import Assignment
from taskserver.fleet.supervisor.process import SupervisorConfig

FIELDS = WorkerSettings.model_fields
VALUES: dict[str, tuple[str, Any]] = {
    "concurrency": ("7", 7),
    "lease": ("20s", 20.0),
    "grace_period": ("1m", 60.0),
    "unknown_tool_wait": ("9", 9.0),
    "max_message_bytes": ("1 MiB", 1024**2),
    "max_jobs": ("500", 500),
    "max_rss": ("1GB", 10**9),
    "keep_messages": ("true", True),
    "loglevel": ("debug", "debug"),
    "log_format": ("json", "json"),
    "loop": ("asyncio", "asyncio"),
    "metrics_port": ("0", 0),
    "metrics_host": ("::1", "::1"),
    "metrics_targets": ("targets.json", "targets.json"),
}
"""For each setting a value as people write it, and what it means. A new setting needs a line here."""


def option_of(name: str) -> Option:
    return next((each for each in FIELDS[name].metadata if isinstance(each, Option)), Option())


def test_every_setting_has_a_value_here() -> None:
    assert list(VALUES) == list(FIELDS)


@pytest.mark.parametrize("name", FIELDS)
def test_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written, meant = VALUES[name]
    monkeypatch.setenv(variable(name), written)
    assert getattr(Settings(), name) == meant


@pytest.mark.parametrize("name", FIELDS)
def test_the_file(name: str) -> None:
    meant = VALUES[name][1]
    written = VALUES[name][0] if isinstance(meant, float) else meant
    assert TaskServer.model_validate({name: written}).overrides == {name: meant}
    assert TaskServer().overrides == {}


@pytest.mark.parametrize("name", FIELDS)
def test_the_schema(name: str) -> None:
    described = schema()["$defs"]["TaskServer"]["properties"][name]
    assert described["description"] == FIELDS[name].description
    assert described.get("default") == (
        FIELDS[name].default or None if name == "metrics_targets" else FIELDS[name].default
    )


@pytest.mark.parametrize("name", [name for name in FIELDS if option_of(name).offered])
def test_the_option(name: str) -> None:
    parameter = next(each for each in start.params if each.name == name)
    assert isinstance(parameter, click.Option)
    assert f"--{name.replace('_', '-')}" in parameter.opts
    assert parameter.help is not None
    assert parameter.help.startswith(f"{FIELDS[name].description} [")
    assert parameter.help.endswith(f"env: {variable(name)}]")
    written, meant = VALUES[name]
    flags = [parameter.opts[0]] if parameter.is_flag else [parameter.opts[0], written]
    assert start.make_context("start", flags).params[name] == meant


@pytest.mark.parametrize("name", FIELDS)
def test_what_runs_has_it_under_the_same_name_with_the_same_default(name: str) -> None:
    """Of the worker, of its process, or of all replicas together; in exactly one of them."""
    assignment = {each.name: each for each in msgspec.structs.fields(Assignment)}
    defaults = [
        kind._field_defaults[name] for kind in (WorkerConfig, SupervisorConfig) if name in kind._fields
    ] + [assignment[name].default for _ in "x" if name in assignment]  # fmt: skip
    assert defaults == [FIELDS[name].default]


def test_the_worker_has_them_with_the_same_type() -> None:
    declared, worker = get_type_hints(WorkerSettings), get_type_hints(WorkerConfig)
    assert {name: declared[name] for name in worker.keys() & declared.keys()} == {
        name: worker[name] for name in worker.keys() & declared.keys()
    }


def test_an_assignment_takes_all_of_them() -> None:
    meant = {name: value for name, (_, value) in VALUES.items()}
    made = Assignment(modules=()).with_settings(meant)
    set_to = msgspec.structs.asdict(made) | made.worker._asdict()
    assert {name: set_to[name] for name in meant if name != "metrics_targets"} == {
        name: value for name, value in meant.items() if name != "metrics_targets"
    }


def test_both_names_of_the_concurrency_mean_the_same() -> None:
    assert TaskServer.model_validate({"concurrency_per_replica": 3}).overrides == {"concurrency": 3}


def test_settings_without_environment_are_the_declarations() -> None:
    settings.cache_clear()
    assert {name: getattr(settings(), name) for name in FIELDS} == {name: f.default for name, f in FIELDS.items()}
    settings.cache_clear()
