"""The inspector for scripts and notebooks: the same calls, without ``await``."""

import inspect

import pytest

from taskserver import BrokerUnavailable, Inspector, State, SyncClient, SyncInspector


def test_a_script(broker_url: str) -> None:
    with SyncClient(broker_url) as client, SyncInspector(broker_url) as inspector:
        job = client.submit("summarize", queue="mail")
        assert [queue.name for queue in inspector.queues()] == ["mail"]
        inspector.pause("mail")
        assert inspector.queue("mail").paused
        assert [found.id for found in inspector.jobs(tool="summarize")] == [job.id]
        assert inspector.cancel(job.id) is State.CANCELLED
        assert list(inspector.dead_letters()) == []
        assert inspector.requeue([job.id]).queued == 1
        assert inspector.workers() == []
    inspector.close()  # harmless


async def test_it_works_inside_a_running_loop_as_in_a_notebook(broker_url: str) -> None:
    with SyncInspector(broker_url) as inspector:
        assert inspector.queues() == []


def test_a_broker_that_is_down() -> None:
    with SyncInspector("redis://127.0.0.1:1") as inspector, pytest.raises(BrokerUnavailable):
        inspector.check()


def test_it_has_every_method_of_the_inspector_with_its_signature() -> None:
    for name, method in inspect.getmembers(Inspector, inspect.isfunction):
        if name.startswith("_") or name in ("connect", "close"):
            continue
        twin = getattr(SyncInspector, name)
        assert list(inspect.signature(twin).parameters) == list(inspect.signature(method).parameters), name
        assert twin.__doc__ == method.__doc__
