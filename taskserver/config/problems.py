"""Error messages about values: what pydantic found, in plain words that say what to write."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from taskserver.config.document import Path, spelling
from taskserver.config.references import ResolvedText
from taskserver.domain.names import did_you_mean
from taskserver.domain.secrets import looks_secret
from taskserver.errors import ConfigFileInvalid, Problem

SHOWN = 60
"""Characters of a value that an error message shows."""

NO_TOOLS = "is missing: write tools: [{module: my_agent.tools}], or set the module with --tools or TASKSERVER_TOOLS"

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "a string",
    "list_type": "a list",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dict_type": "a mapping",
}
_MAY_BE_SECRET = ("url", "broker_url", "signing_keys")


def dotted(path: Path) -> str:
    """A path as people write it: ``task_server.queues[1].weight``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def invalid(file: str, problems: Iterable[Problem]) -> ConfigFileInvalid:
    """The error that lists all problems, by line."""
    return ConfigFileInvalid(file, sorted(problems, key=lambda problem: problem.line))


def sentence(error: ErrorDetails, path: Path, keys: Iterable[str]) -> str:
    """An error of pydantic in plain words.

    Args:
        error: One of the errors of a ``ValidationError``.
        path: Where it is in the file; for a setting, its name.
        keys: The keys that are allowed there.
    """
    kind, given, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown key{did_you_mean(str(path[-1]), keys) or '; the keys here are ' + ', '.join(keys)}"
    if kind == "missing":
        return "is missing"
    if kind == "value_error":
        return "the value of its reference is not valid" if isinstance(given, ResolvedText) else str(context["error"])
    shown = _shown(given, path)
    if kind in _EXPECTED:
        either = "a string or " if kind == "model_type" and {"queues", "tools"} & set(path[-2:]) else ""
        return f"must be {either}{_EXPECTED[kind]}, not {shown}" + _hint("string_type" if either else kind, given)
    return _BY_KIND.get(kind, _other)(error, shown)


def _shown(value: Any, path: Path) -> str:
    """A value for an error message, unless it may be a secret: that is also true of all that came from a reference."""
    if isinstance(value, ResolvedText):
        return "the value of its reference"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if any(isinstance(part, str) and (looks_secret(part) or part in _MAY_BE_SECRET) for part in path):
        return "this value"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "nothing"}[value]
    text = spelling(value)
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}…") if isinstance(value, str) else text


def _hint(kind: str, given: Any) -> str:
    if kind == "string_type" and not isinstance(given, (dict, list)):
        return ": put it in quotes"
    if kind.startswith("int") and isinstance(given, str) and given.strip().isdecimal():
        return ": leave out the quotes"
    return ""


def _bound(word: str, name: str) -> Callable[[ErrorDetails, str], str]:
    return lambda error, shown: f"must be {word} {error['ctx'][name]:,}, not {shown}".replace(".0,", ",")


def _literal(error: ErrorDetails, shown: str) -> str:
    given = error["input"]
    if given == "celery" and error["loc"][-1] == "type":
        return "'celery' is not supported: write redis-streams; the rest can stay as it is"
    known = str(error["ctx"]["expected"])
    near = did_you_mean(given, [word.strip("'") for word in known.replace(" or ", ", ").split(", ")])
    return f"must be {known}, not {shown}{near if isinstance(given, str) else ''}"


def _pattern(error: ErrorDetails, shown: str) -> str:
    by_key = {
        "name": "must be a name of letters, digits, '-' and '_' (at most 63, a letter or digit at both ends)",
        "class": "must be the name of a class or function",
        "cpu": "must be an amount such as 500m or 2",
        "memory": "must be an amount such as 512Mi or 2Gi",
        "max_surge": "must be a number of pods or a share such as 25%",
        "tmp_size": "must be an amount such as 512Mi or 2Gi",
        "ingress_namespaces": "must be the name of a namespace",
        "broker_resource_name": "must be the name of a broker in this file",
        "broker_name": "must be the name of a broker in this file",
        "signing_keys": "must be a reference, not the key itself: write file:/path/to/the/key or env:NAME",
        "env": "must be a variable name (letters, digits and '_', no leading digit)",
    }
    key = next((part for part in reversed(error["loc"]) if part in by_key), "")
    if not key:
        return f"is not valid: {shown}"
    return by_key[str(key)] if key == "signing_keys" else f"{by_key[str(key)]}, not {shown}"


def _empty(error: ErrorDetails, shown: str) -> str:
    return "is empty: write a value, or remove the key"


def _other(error: ErrorDetails, shown: str) -> str:
    return f"{error['msg'][:1].lower()}{error['msg'][1:]}, not {shown}"


_BY_KIND: dict[str, Callable[[ErrorDetails, str], str]] = {
    "greater_than_equal": _bound("at least", "ge"),
    "less_than_equal": _bound("at most", "le"),
    "literal_error": _literal,
    "string_pattern_mismatch": _pattern,
    "too_short": _empty,
    "string_too_short": _empty,
}


def keys_of(model: type[BaseModel]) -> list[str]:
    """The keys that are allowed in a part of the file."""
    return [field.alias or name for name, field in model.model_fields.items()]
