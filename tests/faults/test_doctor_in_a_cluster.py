"""The doctor finds and repairs queues wherever in a cluster they live, and their list wherever that is."""

from __future__ import annotations

from taskserver import Client
from taskserver.store.keys import QUEUES
from taskserver.store.maintenance import doctor
from tests.clients import broker_of
from tests.faults.topologies import cluster


def quietly(*_: object) -> None:
    """Nobody watches the progress."""


async def test_damage_on_every_node(binary: str) -> None:
    with cluster(binary) as nodes:
        names = sorted(nodes.queue_on(master) for master in nodes.masters)
        async with Client(nodes.url) as client:
            for name in names:
                await client.submit("note", {"number": 1}, queue=name)
            broker = await broker_of(client)
            for name in names:
                with nodes.owner(name).direct as server:
                    server.set(broker.keys(name).lane("normal"), "what is this")
            await broker.ask(QUEUES, lambda client: client.delete(QUEUES))
            await broker.ask(QUEUES, lambda client: client.set(QUEUES, "what is this"))
            found = [finding.text for finding in await doctor.examine_registry(broker)]
            assert found[0] == "the list of queues is of the wrong type"
            assert found[1].startswith("3 queues not on the list of queues: ")
            await doctor.repair_registry(broker)
            assert await doctor.queue_names(broker) == names
            for name in names:
                await doctor.repair_queue(broker, name, quietly)
                found = await doctor.examine_queue(broker, name, quietly)
                assert [finding.text for finding in found if finding.level == "warning"] == ["1 job and no live worker"]
                assert [finding.text for finding in found if finding.level == "error"] == []
