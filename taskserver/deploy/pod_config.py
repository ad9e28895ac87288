"""A task server in the configuration file of its pods: as the file states it, but for what differs in a cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taskserver.config.document import Path
from taskserver.config.problems import NO_TOOLS
from taskserver.config.resources import TaskServer, ToolSource
from taskserver.deploy.loading import stated_by
from taskserver.deploy.secrets import SecretCollector

WORKER_PORT = 9101
EVERYWHERE = "0.0.0.0"  # noqa: S104 - in a pod, behind its NetworkPolicy
_ONE_MACHINE = ("kubernetes", "metrics_targets")
"""Keys that pods do not need."""

AddError = Callable[[Path, str], None]


def pod_config(
    server: TaskServer, path: Path, modules: tuple[str, ...], secrets: SecretCollector, add_error: AddError
) -> dict[str, Any]:
    """The task server as its pods read it.

    Args:
        server: The task server.
        path: Where it is in the file, for errors.
        modules: Modules with tools, if it names none.
        secrets: Collects the keys of its Secret.
        add_error: Called with everything that would not work in a pod.

    Raises:
        ConfigError: if two references would get the same key of the Secret.
    """
    host = server.overrides.get("metrics_host", EVERYWHERE)
    if host not in (EVERYWHERE, "::"):
        add_error((*path, "metrics_host"), f"must be {EVERYWHERE} in pods, so that Prometheus can reach them")
    stated = {key: value for key, value in stated_by(server).items() if key not in _ONE_MACHINE}
    keys = stated.pop("signing_keys", None)
    made: dict[str, Any] = secrets.rewritten(stated)
    if keys is not None:
        made["signing_keys"] = [secrets.signing_key(source) for source in server.signing_keys or ()]
    if not server.tools:
        made["tools"] = [{"module": module.replace("$", "$$")} for module in modules]
    _check_tools(server.tools or [ToolSource(module=module) for module in modules], (*path, "tools"), add_error)
    port = server.metrics_port or WORKER_PORT
    return made | {"name": server.name, "replicas": 1, "metrics_port": port, "metrics_host": host}


def _check_tools(tools: list[ToolSource], path: Path, add_error: AddError) -> None:
    if not tools:
        add_error(path, NO_TOOLS)
    for position, tool in enumerate(tools):
        if (tool.module.endswith(".py") or "/" in tool.module) and not tool.module.startswith("/"):
            text = "is a relative path, which pods lack: name a module in the image, such as my.tools"
            add_error((*path, position, "module"), text)
