"""Every setting of the package, its environment variable, its unit and its default."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from taskserver.config.references import follow
from taskserver.domain.buckets import BUCKETS, parse_buckets
from taskserver.domain.durability import IN_MEMORY, Durability
from taskserver.domain.limits import MAX_BYTES
from taskserver.domain.signing import TTL_MS
from taskserver.domain.sizes import parse_size
from taskserver.errors import ConfigError

LEAST_RSS = 64 * 10**6
"""Bytes of ``max_rss`` at least: a worker that does nothing takes nearly as much."""


def as_durability(value: Any) -> Any:
    """Read a durability for pydantic, which takes a ValueError's text for what is wrong."""
    try:
        return Durability.parse(value) if isinstance(value, str) else value
    except ConfigError as error:
        raise ValueError(str(error)) from None


def _buckets(value: Any) -> Any:
    try:
        return parse_buckets(value) if isinstance(value, str) else value
    except ConfigError as error:
        raise ValueError(str(error)) from None


def _followed(value: Any) -> Any:
    """A text with what its references stand for, as in a configuration file."""
    return str(follow(value, Path.cwd())) if isinstance(value, str) else value


def _size(value: Any) -> Any:
    try:
        return None if value is None else parse_size(value, LEAST_RSS)
    except ConfigError as error:
        raise ValueError(str(error)) from None


class Settings(BaseSettings):
    """Settings, each read from ``TASKSERVER_`` and its name in capitals.

    Attributes:
        broker_url: The broker; none means an embedded one under ``.taskserver/``. Its password may be in a file:
            ``redis://:${file:/run/secrets/password}@host``.
        durability: What an acknowledged submit has survived: ``memory``, ``fsync``, ``replicas=N`` or
            ``fsync,replicas=N``.
        queue: The queue for submits and workers that name none.
        concurrency: Slots of a worker: attempts that run at once.
        lease: Seconds after which a job whose worker fell silent runs elsewhere; renewed three times as often.
        grace_period: Seconds that a stopping worker lets its jobs go on before it hands them back.
        unknown_tool_wait: Seconds that a job waits for a worker that knows its tool before it is a dead letter.
        max_message_bytes: The largest message that is submitted, and the largest result that is kept.
        patience: Seconds for which a client repeats a call that the broker did not answer.
        max_jobs: Attempts after which a worker ends to be replaced; none for no limit.
        max_rss: Bytes of memory, ``2GB`` or so, above which a worker ends to be replaced; none for no limit.
        keep_messages: Keep the whole messages of jobs that succeed, to run them again and to show their arguments.
        loglevel: Of the worker's own log: debug, info, warning or error.
        log_format: ``text`` for people, ``json`` for machines.
        metrics_port: Port on which a worker serves its metrics and health; 0 for any free one, none for nowhere.
        metrics_host: Address on which it does.
        metrics_targets: File from which Prometheus learns the ports of a supervisor's replicas.
        metrics_buckets: Bounds of the histograms' buckets in seconds, rising, with commas between.
        signing_keys: Where the keys are that sign messages: ``file:/path`` or ``env:NAME``; the first signs, all are
            accepted. Workers that have any take only signed messages.
        secret_names: Names of fields whose values are not shown, besides those that look so; commas between them.
        signature_ttl: Seconds for which a signature is valid, from the moment the job may start.
    """

    model_config = SettingsConfigDict(env_prefix="TASKSERVER_", env_ignore_empty=True, extra="ignore", frozen=True)

    broker_url: Annotated[SecretStr | None, BeforeValidator(_followed)] = None
    durability: Annotated[Durability, NoDecode, BeforeValidator(as_durability)] = IN_MEMORY
    queue: str = "default"
    concurrency: int = Field(default=4, ge=1, le=10_000)
    lease: float = Field(default=15.0, ge=0.3, le=3600)
    grace_period: float = Field(default=30.0, ge=0, le=86_400)
    unknown_tool_wait: float = Field(default=300.0, ge=0)
    max_message_bytes: int = Field(default=MAX_BYTES, ge=1024, le=MAX_BYTES)
    patience: float = Field(default=5.0, ge=0, le=3600)
    max_jobs: int | None = Field(default=None, ge=1)
    max_rss: Annotated[int | None, BeforeValidator(_size)] = None
    keep_messages: bool = False
    loglevel: str = Field(default="info", pattern="^(debug|info|warning|error)$")
    log_format: str = Field(default="text", pattern="^(text|json)$")
    metrics_port: int | None = Field(default=None, ge=0, le=65_535)
    metrics_host: str = "127.0.0.1"
    metrics_targets: str = ""
    metrics_buckets: Annotated[tuple[float, ...], NoDecode, BeforeValidator(_buckets)] = BUCKETS
    signing_keys: SecretStr | None = None  # not shown: somebody may have put a key here
    secret_names: str = ""
    signature_ttl: float = Field(default=TTL_MS / 1000, ge=60, le=10 * 365 * 86_400)


@cache
def settings() -> Settings:
    """The settings of this process.

    Raises:
        ConfigError: naming the variable that cannot be used.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = "TASKSERVER_" + "_".join(str(part) for part in first["loc"]).upper()
        raise ConfigError(f"the environment variable {name} cannot be used: {first['msg'].lower()}") from None


def secret_names() -> tuple[str, ...]:
    """The names that the setting tells."""
    return tuple(filter(None, (name.strip() for name in settings().secret_names.split(","))))
