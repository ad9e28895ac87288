"""The registry of partitions: one thread adds, others read, and none of them sees it change meanwhile."""

from __future__ import annotations

from tests.worker.conftest import Hire


async def test_a_reader_sees_what_was_there_when_it_began(hire: Hire) -> None:
    partitions = (await hire(queues=("mail", "reports"))).worker._partitions
    names, items = iter(partitions), iter(partitions.items())
    begun = [next(names), next(items)[0]]
    added = partitions.add(["mail~1", "mail~2"])
    assert [partition.name for partition in added] == ["mail~1", "mail~2"]
    assert [*begun, *names, *(name for name, _ in items)] == ["mail", "mail", "reports", "reports"]
    assert list(partitions) == ["mail", "reports", "mail~1", "mail~2"]


async def test_what_is_there_already_is_not_built_again(hire: Hire) -> None:
    partitions = (await hire(queues=("mail", "reports"))).worker._partitions
    mail = partitions["mail"]
    assert partitions.add(["mail"]) == []
    assert partitions["mail"] is mail
    assert len(partitions) == 2
