"""The messages between a supervisor and its replicas: either may be the older version, so the wire does not change."""

from __future__ import annotations

import socket

import msgspec
import pytest

from taskserver.domain.fleet import Action, FleetCommand
from taskserver.errors import BrokerUnavailable, ConfigError, ConfigFileInvalid, JobNotFound, TaskServerError
from taskserver.fleet.assignment import Assignment
from taskserver.fleet.link import Begin, Heard, Ready, Refused, Reopen, Stopping, StopReplica, pack, receive
from taskserver.fleet.sources import Stamp

COMMAND = FleetCommand(id="1", action=Action.SCALE, whom="a", replicas=2)


@pytest.mark.parametrize(
    ("message", "sent"),
    [
        (StopReplica(hurry=True), {"type": "Stop", "hurry": True}),
        (Reopen("log"), {"type": "Reopen", "log_file": "log"}),
        (
            Ready(name="a", pid=1, metrics_port=2, files={"b.py": Stamp(3, 4)}),
            {"type": "Ready", "name": "a", "pid": 1, "metrics_port": 2, "files": {"b.py": [3, 4]}},
        ),
        (Stopping(), {"type": "Stopping"}),
        (
            Refused(kind="ConfigError", sentence="no"),
            {"type": "Refused", "kind": "ConfigError", "sentence": "no", "files": {}},
        ),
        (
            Heard(COMMAND),
            {"type": "Heard", "order": {"id": "1", "action": "scale", "whom": "a", "replicas": 2}},
        ),
    ],
)
def test_tags_and_fields_on_the_wire(message: msgspec.Struct, sent: dict[str, object]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(pack(message))
        assert receive(theirs, type(message)) == message
    assert msgspec.json.decode(pack(message)[4:]) == sent


def test_the_first_message_to_a_replica() -> None:
    begin = Begin(assignment=Assignment(modules=("tools",)), supervisor="s", number=1)
    sent = msgspec.json.decode(pack(begin)[4:])
    assert {name: sent[name] for name in ("type", "supervisor", "number", "watched")} == {
        "type": "Begin", "supervisor": "s", "number": 1, "watched": False
    }  # fmt: skip
    assert {"modules", "worker", "task_server", "broker_url", "loglevel", "environment"} <= sent["assignment"].keys()


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (BrokerUnavailable("gone"), BrokerUnavailable),
        (ConfigFileInvalid("config.yaml", []), ConfigError),
        (JobNotFound("a-1"), TaskServerError),
    ],
)
def test_a_refusal_becomes_the_nearest_error_of_its_kind(error: TaskServerError, raised: type[Exception]) -> None:
    again = Refused.of(error).error()
    assert (type(again), str(again)) == (raised, str(error))
