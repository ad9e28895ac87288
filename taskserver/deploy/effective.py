"""Task servers with the settings that the file leaves to the environment, as ``taskserver up`` would run them.

The manifests are computed from some of these settings: the time that a pod has to end, the slots that an autoscaler
counts with, the queues. Those are always written into the file of the pods, also when they have their default, so an
environment that an image brings along cannot contradict the manifests.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from taskserver.config.resources import QueueResource, TaskServer
from taskserver.config.settings import settings
from taskserver.config.texts import variable
from taskserver.config.worker_settings import WorkerSettings

_RENDERED = {"concurrency", "grace_period"}
"""Settings that the manifests are computed from."""
_OF_PODS = {"metrics_port", "metrics_host", "metrics_targets"}
"""Settings that pods have of their own."""
_ELSEWHERE = {"broker_url", "queue"}
"""Settings that are no worker settings, and that pods have all the same."""


def effective(server: TaskServer) -> TaskServer:
    """The task server, with what the file leaves open as the environment says, else with its default.

    Raises:
        ConfigError: if a variable of the environment is not valid.
    """
    names = (_from_environment() | _RENDERED) - set(server.overrides)
    added: dict[str, Any] = {name: getattr(settings(), name) for name in WorkerSettings.model_fields if name in names}
    if server.queues is None:
        added["queues"] = [QueueResource(name=settings().queue)]
    return server.model_copy(update=added)


def environment_notes(server: TaskServer) -> Iterator[str]:
    """What the environment of the command has decided, in sentences."""
    names = _from_environment() - set(server.overrides)
    if server.queues is None and "queue" in settings().model_fields_set:
        names |= {"queue"}
    for name in sorted(names):
        value = getattr(settings(), name)
        shown = f"{value:g}" if isinstance(value, float) else value
        yield f"{name} of {server.name} is {shown}, as {variable(name)} says in this environment"


def left_out() -> Iterator[str]:
    """What the environment of the command says that pods are not told, in a sentence."""
    stated = settings().model_fields_set - set(WorkerSettings.model_fields) - _ELSEWHERE
    if names := sorted(map(variable, stated)):
        yield f"pods do not get {', '.join(names)} from this environment: write in the file what they need"


def _from_environment() -> set[str]:
    return (settings().model_fields_set & set(WorkerSettings.model_fields)) - _OF_PODS
