"""Every setting of the package, its environment variable, its unit and its default."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from taskserver.config.problems import sentence
from taskserver.config.references import resolve
from taskserver.config.texts import PREFIX, tidied, variable
from taskserver.config.values import DURABILITY, SECONDS, parsed
from taskserver.config.worker_settings import WorkerSettings
from taskserver.domain.buckets import BUCKETS, parse_buckets
from taskserver.domain.durability import IN_MEMORY, Durability
from taskserver.domain.signing import TTL_MS
from taskserver.errors import ConfigError

_SERVICE_LINK = re.compile(r"(tcp|udp|sctp)://\S+:\d+")


def _resolved(value: Any) -> Any:
    """A string with its references resolved, as in a configuration file."""
    return str(resolve(value, Path.cwd())) if isinstance(value, str) else value


class Settings(BaseSettings, WorkerSettings):
    """Settings, each read from ``TASKSERVER_`` and its name in capitals; those of a worker are inherited."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True, validate_default=False
    )

    broker_url: Annotated[SecretStr | None, BeforeValidator(_resolved)] = None
    """URL of the broker; by default an embedded broker is used. References such as ${file:/path} are resolved."""
    durability: Annotated[Durability, NoDecode, DURABILITY] = IN_MEMORY
    """What an acknowledged submit has survived: memory, fsync, replicas=N or fsync,replicas=N."""
    queue: str = "default"
    """Queue for submits and workers that name none."""
    patience: Annotated[float, Field(ge=0, le=3600), SECONDS] = 5.0
    """Seconds for which a client retries a call that the broker did not answer; it retries at least once."""
    signing_keys: SecretStr | None = None  # not shown: somebody may have put a key here
    """Where to find the keys that sign messages: file:/path or env:NAME, separated by commas. The first one signs."""
    signature_ttl: Annotated[float, Field(ge=60, le=10 * 365 * 86_400), SECONDS] = TTL_MS / 1000
    """Seconds for which a signature is valid, from the time that the job may start."""
    secret_names: str = ""
    """Names of fields whose values are never shown, besides those that look secret; separated by commas."""
    metrics_buckets: Annotated[tuple[float, ...], NoDecode, BeforeValidator(parsed(parse_buckets))] = BUCKETS
    """Bounds of the histogram buckets in seconds, ascending, separated by commas."""

    @model_validator(mode="before")
    @classmethod
    def _tidied(cls, values: dict[str, Any]) -> dict[str, Any]:
        """A variable of which nothing is left without its line end is as good as none."""
        texts = {name: tidied(value) for name, value in values.items() if isinstance(value, str)}
        return {name: texts.get(name, value) for name, value in values.items() if texts.get(name, value) != ""}


class PartlyWrong:
    """In place of settings of which some are wrong: a wrong one is an error for who uses it, and for nobody else.

    Args:
        valid: The settings, with defaults in place of wrong ones.
        wrong: The error of each wrong one, by its name.
    """

    def __init__(self, valid: Settings, wrong: dict[str, ConfigError]) -> None:
        self._valid = valid
        self._wrong = wrong

    def __getattr__(self, name: str) -> Any:
        if name in self._wrong:
            raise self._wrong[name]
        return getattr(self._valid, name)

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """All settings, for who uses all of them."""
        raise next(iter(self._wrong.values()))


@cache
def settings() -> Settings:
    """The settings of this process. Using one whose variable has a value that is not allowed raises ``ConfigError``."""
    try:
        return Settings()
    except ValidationError as error:
        wrong = {str(each["loc"][0]): _error(each) for each in reversed(error.errors(include_url=False))}
    valid = Settings(**{name: Settings.model_fields[name].default for name in wrong})
    return cast("Settings", PartlyWrong(valid, wrong))


def _error(error: ErrorDetails) -> ConfigError:
    """The error for a variable that is wrong."""
    path = error["loc"][:1]
    name = variable(str(path[0]))
    if name.endswith("_PORT") and _SERVICE_LINK.fullmatch(str(error["input"])):
        service = name.removesuffix("_PORT").lower().replace("_", "-")
        return ConfigError(
            f"environment variable {name}: Kubernetes set it to {error['input']!r}, for a Service called {service!r}: "
            "rename the Service, or set enableServiceLinks: false for the pod"
        )
    return ConfigError(f"environment variable {name}: {sentence(error, path, ())}")


def secret_names() -> tuple[str, ...]:
    """The names in the setting of that name."""
    return tuple(filter(None, (name.strip() for name in settings().secret_names.split(","))))
