"""Reading YAML: plain data, and the line of each value.

It uses PyYAML's composer, which knows the lines, and nothing that constructs objects. Tags and duplicate keys are
refused. Size, depth and the number of values are limited; an alias counts each time it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

MAX_CHARACTERS = 256 * 1024
MAX_DEPTH = 20
MAX_VALUES = 10_000

Path = tuple[str | int, ...]
"""The location of a value: keys, and positions in lists."""

_MERGE = "tag:yaml.org,2002:merge"
_KINDS: dict[str, Callable[[str], Any]] = {
    "tag:yaml.org,2002:null": lambda _: None,
    "tag:yaml.org,2002:bool": lambda text: text.lower() in ("yes", "true", "on"),
}


class SpelledInt(int):
    """A whole number that Python would spell differently. Where text is meant, the spelling is the value.

    Attributes:
        spelling: As it is in the file: ``01234``, ``1_000``.
    """

    spelling: str


class SpelledFloat(float):
    """A decimal number that Python would spell differently.

    Attributes:
        spelling: As it is in the file: ``1.10``.
    """

    spelling: str


class DocumentError(Exception):
    """Something in the YAML that cannot be read, and its line."""

    def __init__(self, line: int, text: str, path: Path = ()) -> None:
        super().__init__(text)
        self.line = line
        self.path = path
        self.text = text


class Document(NamedTuple):
    """A document that has been read.

    Attributes:
        data: Plain data.
        lines: The line of each value, from 1; for a value with a key, that of the key.
        errors: Keys that are duplicates or not strings.
    """

    data: Any
    lines: dict[Path, int]
    errors: list[DocumentError]


def read(text: str) -> Document:
    """Read one document.

    Raises:
        DocumentError: if it is not YAML, or exceeds a limit.
    """
    if len(text) > MAX_CHARACTERS:
        raise DocumentError(1, f"is larger than {MAX_CHARACTERS // 1024} KiB, the limit for a configuration file")
    try:
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise DocumentError(mark.line + 1 if mark else 1, _sentence(error)) from None
    except yaml.YAMLError as error:
        line = text.count("\n", 0, getattr(error, "position", 0)) + 1
        raise DocumentError(line, "contains a character that YAML does not allow") from None
    return _Reader().document(root)


class _Loader(yaml.SafeLoader):
    """The composer, with a limit on depth, and without tags."""

    depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        """Compose one node; overrides the composer's."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        if getattr(event, "tag", None) not in (None, "!"):
            raise DocumentError(line, f"tags such as {event.tag!r} are not supported: write only the value")
        if self.depth > MAX_DEPTH:
            raise DocumentError(line, f"values are nested more than {MAX_DEPTH} levels deep")
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


class _Reader:
    """Walks the nodes once, every alias included."""

    def __init__(self) -> None:
        self.lines: dict[Path, int] = {}
        self.errors: list[DocumentError] = []
        self._open: set[int] = set()
        self._left = MAX_VALUES

    def document(self, root: Node | None) -> Document:
        return Document(None if root is None else self._value(root, ()), self.lines, self.errors)

    def _value(self, node: Node, path: Path) -> Any:
        line = node.start_mark.line + 1
        self.lines.setdefault(path, line)
        self._left -= 1
        if self._left < 0:
            raise DocumentError(line, f"has more than {MAX_VALUES:,} values, counting each use of an alias")
        if id(node) in self._open:
            raise DocumentError(line, "an alias contains itself")
        self._open.add(id(node))
        try:
            if isinstance(node, MappingNode):
                return self._mapping(node, path)
            if isinstance(node, SequenceNode):
                return [self._value(each, (*path, position)) for position, each in enumerate(node.value)]
            return _scalar(node) if isinstance(node, ScalarNode) else None
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        first: dict[str, int] = {}
        for key, value in self._pairs(node, path):
            name, line = key.value, key.start_mark.line + 1
            if name in first:
                self.errors.append(
                    DocumentError(line, f"is a duplicate: the key is already on line {first[name]}", (*path, name))
                )
                continue
            first[name] = line
            self.lines[*path, name] = line
            found[name] = self._value(value, (*path, name))
        for merged in self._merged(node, path):
            for key, value in self._pairs(merged, path):
                if key.value not in found:
                    self.lines[*path, key.value] = key.start_mark.line + 1
                    found[key.value] = self._value(value, (*path, key.value))
        return found

    def _pairs(self, node: MappingNode, path: Path) -> Iterator[tuple[ScalarNode, Node]]:
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self.errors.append(DocumentError(key.start_mark.line + 1, "a key must be a string", path))
            elif key.tag != _MERGE:
                yield key, value

    def _merged(self, node: MappingNode, path: Path) -> Iterator[MappingNode]:
        """The mappings that ``<<`` merges, in order of precedence."""
        for key, value in node.value:
            if key.tag == _MERGE:
                for each in value.value if isinstance(value, SequenceNode) else [value]:
                    if isinstance(each, MappingNode) and all(inner.tag != _MERGE for inner, _ in each.value):
                        yield each
                    else:
                        message = "<< must be followed by an alias of a mapping without another <<"
                        self.errors.append(DocumentError(key.start_mark.line + 1, message, path))


def _scalar(node: ScalarNode) -> Any:
    if "${" in node.value:
        return node.value
    if node.tag in _KINDS:
        return _KINDS[node.tag](node.value)
    if node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float"):
        return _number(node.value, node.value)
    return node.value


def _number(text: str, otherwise: Any) -> Any:
    """An integer or decimal number; ``otherwise`` for the other forms that YAML has for numbers."""
    for kind in (SpelledInt, SpelledFloat):
        try:
            number = kind(text)
        except ValueError:
            continue
        number.spelling = text
        return number
    return otherwise


def spelling(value: Any) -> str:
    """A number as it is in the file."""
    return getattr(value, "spelling", None) or (f"{value:g}" if isinstance(value, float) else str(value))


def _sentence(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or ""
    if problem.startswith("found character '\\t'"):
        return "is indented with a tab: use spaces"
    if problem.startswith("but found another document"):
        return "contains more than one document: remove the line ---"
    context = f" {error.context}" if error.context else ""
    return f"is not YAML: {problem or 'it cannot be read'}{context}".replace("\n", " ")
