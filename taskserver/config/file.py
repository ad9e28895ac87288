"""Loading a configuration file: what it declares, with lines, or every error in it at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any

from pydantic import BaseModel, ValidationError

from taskserver.config.checks import conflicts, plain_secret
from taskserver.config.document import MAX_CHARACTERS, DocumentError, Path, read, spelling
from taskserver.config.problems import dotted, invalid, keys_of, sentence
from taskserver.config.references import Reference, ReferenceInvalid, parts, references, resolve
from taskserver.config.resources import BrokerResource, File, TaskServer
from taskserver.domain.names import did_you_mean
from taskserver.errors import ConfigError, ConfigFileInvalid, Problem


class Config:
    """A valid configuration file.

    Attributes:
        file: The file, as it was named.
        folder: Its folder, where relative paths start.
        brokers: The brokers that it declares.
        task_servers: The task servers that it declares, at least one.
    """

    def __init__(self, file: str, content: File, source: _Source) -> None:
        self.file = file
        self.folder = FilePath(file).resolve().parent
        self.brokers: list[BrokerResource] = content.broker
        self.task_servers: list[TaskServer] = content.task_server
        self._source = source

    def line_of(self, path: Path) -> int | None:
        """The line of a key, such as ``("task_server", 0, "replicas")``; None if it is not in the file.

        A position is needed even if there is only one broker or task server.
        """
        return self._source.lines.get(self._source.locate(path))

    def name_of(self, path: Path) -> str:
        """A key as people write it: ``task_server.replicas``, with a position only if there are several."""
        return dotted(self._source.locate(path))

    def references_in(self, path: Path) -> list[Reference]:
        """The references in the value of a key."""
        return self._source.origins.get(self._source.locate(path), [])

    def broker_of(self, server: TaskServer) -> BrokerResource | None:
        """The broker of a task server; None if the file declares none, and the environment does."""
        if server.broker is None or not self.brokers:
            return self.brokers[0] if self.brokers else None
        return next(broker for broker in self.brokers if broker.name == server.broker)

    def task_server(self, name: str | None) -> TaskServer:
        """The task server with this name; without a name, the only one in the file.

        Raises:
            ConfigError: if there is no such task server, or the name is needed.
        """
        names = [server.name for server in self.task_servers]
        if name is None and len(names) > 1:
            raise ConfigError(
                f"{self.file} has several task servers: choose one with --task-server ({', '.join(names)})"
            )
        if name is not None and name not in names:
            near = did_you_mean(name, names) or f", only {', '.join(names)}"
            raise ConfigError(f"there is no task server {name!r} in {self.file}{near}")
        return self.task_servers[0 if name is None else names.index(name)]

    def error_at(self, path: Path, text: str) -> ConfigFileInvalid:
        """The error for a value that turned out not to be usable."""
        found = self._source.locate(path)
        return invalid(self.file, [Problem(self._source.line(found), dotted(found), text)])


def load(file: str, *, keep: Callable[[Path], bool] | None = None) -> Config:
    """Load a file.

    Args:
        file: Its path.
        keep: Whether the references of a key stay unresolved, for a caller that passes them on. By default all are
            resolved.

    Raises:
        ConfigFileInvalid: with every error in it.
    """
    text = _content(file)
    try:
        document = read(text)
    except DocumentError as error:
        raise invalid(file, [Problem(error.line, "", error.text)]) from None
    if document.data is None:
        raise _whole_file(file, "is empty: declare a task_server, and a broker unless it is the embedded one")
    if not isinstance(document.data, dict):
        kind = "a list" if isinstance(document.data, list) else "a single value"
        raise invalid(file, [Problem(1, "", f"must be a mapping, such as task_server: …, not {kind}")])
    source = _Source(document.data, document.lines)
    source.problems += [Problem(error.line, dotted(error.path), error.text) for error in document.errors]
    data = source.resolved(FilePath(file).resolve().parent, keep or (lambda _: False))
    for conflict in conflicts(data):
        source.add(*conflict)
    content = source.validated(data)
    if source.problems or content is None:
        raise invalid(file, source.problems)
    return Config(file, content, source)


class _Source:
    """The raw data of a file, and the errors found in it."""

    def __init__(self, data: dict[str, Any], lines: Mapping[Path, int]) -> None:
        self._data = data
        self.lines = lines
        self.origins: dict[Path, list[Reference]] = {}
        self.problems: list[Problem] = []
        self._broken: set[Path] = set()

    def locate(self, path: Path) -> Path:
        """Translate a path through the models to one in the file, which may use a single value in place of a list."""
        here: Any = self._data
        found: Path = ()
        for part in path:
            if isinstance(part, int) and not isinstance(here, list):
                continue
            if isinstance(part, str) and part != "[key]" and not isinstance(here, dict):
                continue
            if part == "[key]":
                continue
            found = (*found, part)
            try:
                here = here[part]
            except (KeyError, IndexError):
                here = {}
        return found

    def line(self, path: Path) -> int:
        """The line of a value, or that of the nearest value around it."""
        return next((self.lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.lines), 1)

    def add(self, path: Path, text: str) -> None:
        """Record an error, unless there is one for this value already."""
        if path not in self._broken:
            self._broken.add(path)
            self.problems.append(Problem(self.line(path), dotted(path), text))

    def resolved(self, folder: FilePath, keep: Callable[[Path], bool]) -> dict[str, Any]:
        """The data with its references resolved."""

        def walk(value: Any, path: Path) -> Any:
            if isinstance(value, dict):
                return {key: walk(each, (*path, key)) for key, each in value.items()}
            if isinstance(value, list):
                return [walk(each, (*path, position)) for position, each in enumerate(value)]
            if value is None:
                self.add(path, "has no value: write one, or remove the key")
            if isinstance(value, (int, float)) and (message := plain_secret(path, spelling(value))):
                self.add(path, message)
            return self._read(value, path, folder, keep) if isinstance(value, str) else value

        return {key: walk(each, (key,)) for key, each in self._data.items()}

    def _read(self, text: str, path: Path, folder: FilePath, keep: Callable[[Path], bool]) -> str:
        try:
            if message := plain_secret(path, text):
                self.add(path, message)
                return str(text)
            if "$" not in text:
                return str(text)
            list(parts(text))  # unresolved references must be well-formed, too
            self.origins[path] = references(text)
            read = str(text) if keep(path) else resolve(text, folder)
        except ReferenceInvalid as error:
            self.add(path, str(error))
            return str(text)
        return read if self.origins[path] else str(read)

    def validated(self, data: dict[str, Any]) -> File | None:
        """The models; None if the data is not valid, and then the errors are recorded."""
        try:
            return File.model_validate(data)
        except ValidationError as error:
            for each in error.errors(include_url=False):
                path = self.locate(each["loc"])
                if not any(path[:n] in self._broken for n in range(1, len(path) + 1)):
                    self.add(path, sentence(each, path, _keys_at(each["loc"][:-1])))
            return None


def _keys_at(loc: Path) -> list[str]:
    """The keys that are allowed there."""
    model: type[BaseModel] | None = File
    for part in loc:
        if isinstance(part, str) and model is not None:
            model = _child(model, part)
    return keys_of(model) if model else []


def _child(model: type[BaseModel], key: str) -> type[BaseModel] | None:
    field = next((f for name, f in model.model_fields.items() if key in (name, f.alias)), None)
    return next(_models(field.annotation), None) if field else None


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _models(inner)


def _content(file: str) -> str:
    try:
        with open(file, "rb") as stream:
            raw = stream.read(4 * MAX_CHARACTERS + 1)
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise _whole_file(file, f"cannot be read: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise invalid(file, [Problem(line, "", "is not UTF-8 text: save the file in that encoding")]) from None


def _whole_file(file: str, text: str) -> ConfigFileInvalid:
    return invalid(file, [Problem(0, "", text)])
