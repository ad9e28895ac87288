"""Every error survives what Python does with errors: pickle, as process pools do, and copy."""

import copy
import importlib
import inspect
import pickle
import pkgutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest

import taskserver
from taskserver import JobFailed, TaskServerError
from taskserver.errors import Problem

VALUES: dict[str, Any] = {
    "file": "config.yaml",
    "problems": [Problem(3, "task_server.replicas", "must be at least 1"), Problem(0, "", "is empty")],
    "seconds": 1.5,
}
"""What the parameters get that are not any text."""


def errors(kind: type[TaskServerError] = TaskServerError) -> Iterator[type[TaskServerError]]:
    """Every class of the tree, wherever it is declared."""
    yield kind
    for below in kind.__subclasses__():
        yield from errors(below)


for module in pkgutil.walk_packages(taskserver.__path__, "taskserver."):
    if not module.name.endswith(("__main__", ".start")):
        importlib.import_module(module.name)
TREE = sorted({kind for kind in errors() if kind.__module__.startswith("taskserver.")}, key=lambda kind: kind.__name__)


def example(kind: type[TaskServerError]) -> TaskServerError:
    if not inspect.isfunction(kind.__init__):
        return kind("what is wrong")
    names = list(inspect.signature(kind).parameters)
    return kind(*(VALUES.get(name, f"a {name}") for name in names))


@pytest.mark.parametrize("again", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
@pytest.mark.parametrize("kind", TREE)
def test_an_error_survives_with_type_text_and_attributes(
    kind: type[TaskServerError], again: Callable[[Exception], Exception]
) -> None:
    error = example(kind)
    error.add_note("a note")
    other = again(error)
    assert type(other) is kind
    assert (str(other), other.args, vars(other)) == (str(error), error.args, vars(error))


def test_errors_of_tools_survive_whatever_they_take() -> None:
    error = pickle.loads(pickle.dumps(NoSuchPage("https://example.org", code=404)))
    assert (str(error), error.url, error.code) == ("404: https://example.org", "https://example.org", 404)


class NoSuchPage(taskserver.PermanentError):
    def __init__(self, url: str, *, code: int) -> None:
        super().__init__(f"{code}: {url}")
        self.url = url
        self.code = code


def test_a_process_pool_goes_on_after_one() -> None:
    with ProcessPoolExecutor(1) as pool:
        with pytest.raises(JobFailed, match="ValueError: no"):
            pool.submit(fail).result()
        assert pool.submit(sum, (1, 2)).result() == 3


def fail() -> None:
    raise JobFailed("default-1", "ValueError", "no")
