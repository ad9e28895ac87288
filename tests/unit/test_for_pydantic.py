"""Statuses, events and what the inspector tells go through pydantic and FastAPI as they are."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from taskserver import Event, EventKind, JobStatus, State
from taskserver.domain.job import AttemptRecord, Failure
from taskserver.store.queries.queues import QueueInfo
from taskserver.store.queries.workers import WorkerInfo

FAILURE = Failure("ValueError", "no")
STATUS = JobStatus(
    id="default-1",
    queue="default",
    state=State.FAILED,
    progress=0.5,
    error=FAILURE,
    history=[AttemptRecord(1, 2, "w", "retry", FAILURE)],
    tags=["a"],
    arguments={"n": [1]},
)
EVENT = Event(cursor="1-2", kind=EventKind.OUTPUT, attempt=1, text="x", progress=None, at=1.5)


class Answer(BaseModel):
    status: JobStatus
    events: list[Event] = []


@pytest.mark.parametrize("value", [STATUS, EVENT, FAILURE])
def test_a_value_is_taken_as_it_is_and_comes_back_from_json(value: Any) -> None:
    adapter = TypeAdapter(type(value))
    assert adapter.validate_python(value) is value
    assert adapter.validate_json(adapter.dump_json(value)) == value
    assert adapter.validate_python(adapter.dump_python(value)) == value


def test_in_json_it_is_an_object_with_its_fields_by_name() -> None:
    shown = Answer(status=STATUS, events=[EVENT]).model_dump(mode="json")
    assert shown["status"]["state"] == "failed"
    assert shown["status"]["history"][0]["error"] == {"type": "ValueError", "message": "no", "traceback": ""}
    assert shown["events"] == [msgspec.to_builtins(EVENT)]


@pytest.mark.parametrize("type_", [JobStatus, Event, QueueInfo, WorkerInfo])
@pytest.mark.parametrize("mode", ["validation", "serialization"])
def test_its_json_schema_has_each_field(type_: Any, mode: Any) -> None:
    schema = TypeAdapter(type_).json_schema(mode=mode)
    assert schema["title"] == type_.__name__
    assert list(schema["properties"]) == [field.name for field in msgspec.structs.fields(type_)]


def test_wrong_data_is_refused_by_pydantic() -> None:
    with pytest.raises(ValidationError, match="state"):
        Answer.model_validate({"status": {"id": "default-1", "queue": "default", "state": "lost"}})


def test_pydantic_is_not_imported_for_it() -> None:
    program = "import sys, taskserver.domain.job, taskserver.domain.events; print('pydantic_core' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
