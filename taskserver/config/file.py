"""Loading a configuration file: all that is wrong in it at once, or what it declares and where that stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any

from pydantic import BaseModel, ValidationError

from taskserver.config.checks import findings, plain_secret
from taskserver.config.document import MAX_CHARACTERS, Fault, Path, read
from taskserver.config.problems import dotted, invalid, keys_of, sentence
from taskserver.config.references import Broken, Reference, follow, pieces, references
from taskserver.config.resources import BrokerResource, File, TaskServer
from taskserver.domain.names import did_you_mean
from taskserver.errors import ConfigError, ConfigFileInvalid, Problem


class Config:
    """A configuration file that can be used.

    Attributes:
        file: The file, as it was named.
        folder: The folder that it is in, where relative paths start.
        brokers: The brokers that it declares.
        task_servers: The task servers that it declares; one at least.
    """

    def __init__(self, file: str, content: File, source: _Source) -> None:
        self.file = file
        self.folder = FilePath(file).resolve().parent
        self.brokers: list[BrokerResource] = content.broker
        self.task_servers: list[TaskServer] = content.task_server
        self._source = source

    def where(self, path: Path) -> int | None:
        """The line of a key, such as ``("task_server", 0, "replicas")``; None if it is not in the file.

        Brokers and task servers are counted also where there is only one.
        """
        return self._source.lines.get(self._source.place(path))

    def name_of(self, path: Path) -> str:
        """A key as people write it: ``task_server.replicas``, with a position only where there are several."""
        return dotted(self._source.place(path))

    def came_by(self, path: Path) -> list[Reference]:
        """The references in the value of a key."""
        return self._source.origins.get(self._source.place(path), [])

    def broker_of(self, server: TaskServer) -> BrokerResource | None:
        """The broker of a task server; None if the file declares none, and it is the environment's."""
        if server.broker is None or not self.brokers:
            return self.brokers[0] if self.brokers else None
        return next(broker for broker in self.brokers if broker.name == server.broker)

    def task_server(self, name: str | None) -> TaskServer:
        """The task server of that name; without one, the only one of the file.

        Raises:
            ConfigError: if there is none, or several to choose from.
        """
        names = [server.name for server in self.task_servers]
        if name is None and len(names) > 1:
            raise ConfigError(f"{self.file} has several task servers, {', '.join(names)}: name one by --task-server")
        if name is not None and name not in names:
            near = did_you_mean(name, names) or f"; there is {', '.join(names)}"
            raise ConfigError(f"no task server {name!r} in {self.file}{near}")
        return self.task_servers[0 if name is None else names.index(name)]

    def refusal(self, path: Path, text: str) -> ConfigFileInvalid:
        """The error for a value that turned out to be of no use."""
        place = self._source.place(path)
        return invalid(self.file, [Problem(self._source.line(place), dotted(place), text)])


def load(file: str, *, keep: Callable[[Path], bool] | None = None) -> Config:
    """Load a file.

    Args:
        file: Its path.
        keep: Whether the references of a key are left as they stand there, for those who pass them on; all others
            are followed.

    Raises:
        ConfigFileInvalid: with all that is wrong in it.
    """
    text = _content(file)
    try:
        document = read(text)
    except Fault as fault:
        raise invalid(file, [Problem(fault.line, "", fault.text)]) from None
    if document.data is None:
        raise _as_a_whole(file, "is empty: declare a task_server, and a broker if it is not the embedded one")
    if not isinstance(document.data, dict):
        kind = "a list" if isinstance(document.data, list) else "a text"
        raise invalid(file, [Problem(1, "", f"must be keys and values, such as task_server: …, not {kind}")])
    source = _Source(document.data, document.lines)
    source.problems += [Problem(fault.line, dotted(fault.path), fault.text) for fault in document.faults]
    data = source.followed(FilePath(file).resolve().parent, keep or (lambda _: False))
    for path, said in findings(data):
        source.add(path, said)
    content = source.validated(data)
    if source.problems or content is None:
        raise invalid(file, source.problems)
    return Config(file, content, source)


class _Source:
    """The data as they stand in the file, with all that was found wrong."""

    def __init__(self, data: dict[str, Any], lines: Mapping[Path, int]) -> None:
        self._data = data
        self.lines = lines
        self.origins: dict[Path, list[Reference]] = {}
        self.problems: list[Problem] = []
        self._broken: set[Path] = set()

    def place(self, path: Path) -> Path:
        """A path through the models as it is in the file, where lists of one and bare names may be shorter."""
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

    def line(self, place: Path) -> int:
        """Its line, or that of what it would stand in."""
        return next((self.lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in self.lines), 1)

    def add(self, place: Path, text: str) -> None:
        """Something is wrong there; it is said once."""
        if place not in self._broken:
            self._broken.add(place)
            self.problems.append(Problem(self.line(place), dotted(place), text))

    def followed(self, folder: FilePath, keep: Callable[[Path], bool]) -> dict[str, Any]:
        """The data with what its references stand for."""

        def walk(value: Any, path: Path) -> Any:
            if isinstance(value, dict):
                return {key: walk(each, (*path, key)) for key, each in value.items()}
            if isinstance(value, list):
                return [walk(each, (*path, position)) for position, each in enumerate(value)]
            if value is None:
                self.add(path, "has no value: write one, or leave the key out")
            return self._read(value, path, folder, keep) if isinstance(value, str) else value

        return {key: walk(each, (key,)) for key, each in self._data.items()}

    def _read(self, text: str, path: Path, folder: FilePath, keep: Callable[[Path], bool]) -> str:
        try:
            if said := plain_secret(path, text):
                self.add(path, said)
                return str(text)
            if "$" not in text:
                return str(text)
            list(pieces(text))  # also what is kept must be well-formed
            self.origins[path] = references(text)
            read = str(text) if keep(path) else follow(text, folder)
        except Broken as error:
            self.add(path, str(error))
            return str(text)
        return read if self.origins[path] else str(read)

    def validated(self, data: dict[str, Any]) -> File | None:
        """The models, or nothing and the problems."""
        try:
            return File.model_validate(data)
        except ValidationError as error:
            for each in error.errors(include_url=False):
                place = self.place(each["loc"])
                if not any(place[:n] in self._broken for n in range(1, len(place) + 1)):
                    self.add(place, sentence(each, place, _keys_at(each["loc"][:-1])))
            return None


def _keys_at(loc: Path) -> list[str]:
    """The keys that may stand there."""
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
        raise _as_a_whole(file, f"cannot be read: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise invalid(file, [Problem(line, "", "is not UTF-8 text: save it in that encoding")]) from None


def _as_a_whole(file: str, text: str) -> ConfigFileInvalid:
    return invalid(file, [Problem(0, "", text)])
