"""Everything a process needs to know to become a worker, in one value that can be sent to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from taskserver.config.worker_settings import WorkerSettings
from taskserver.worker.config import WorkerConfig


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker process is to do; the same for every replica of a task server.

    Attributes:
        modules: Modules and files with tools, as ``tools.load`` takes them.
        worker: The worker's configuration.
        task_server: Name of the task server, for people.
        broker_url: The broker; None for the embedded one. It may hold a password: never pass it as an argument of a
            command.
        loglevel: debug, info, warning or error.
        log_format: ``text`` or ``json``.
        loop: The event loop: ``auto``, ``uvloop`` or ``asyncio``.
        environment: Variables for the process, in addition to those that it inherits. They may hold secrets.
        metrics_host: Address on which metrics are served.
        metrics_port: Port for metrics; 0 for any free port, None to serve none.
    """

    modules: tuple[str, ...]
    worker: WorkerConfig = WorkerConfig()
    task_server: str = "worker"
    broker_url: str | None = None
    loglevel: str = "info"
    log_format: str = "text"
    loop: str = "auto"
    environment: dict[str, str] = {}
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = None

    def with_settings(self, given: Mapping[str, Any]) -> Assignment:
        """A copy with these worker settings, each under the name that it has everywhere; other names are ignored."""
        known = {name: given[name] for name in WorkerSettings.model_fields if name in given}
        worker = {name: value for name, value in known.items() if name in WorkerConfig._fields}
        process = {name: value for name, value in known.items() if name in self.__struct_fields__}
        return msgspec.structs.replace(self, worker=self.worker._replace(**worker), **process)
