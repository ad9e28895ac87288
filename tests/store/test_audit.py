"""What an audit leaves alone, and what it does with things that are odd in more than one way."""

from __future__ import annotations

from taskserver.domain.job import State
from taskserver.store.maintenance import doctor, registry
from tests.store.harness import LONG_MS, QUEUE, Queue, fail, retry, succeed
from tests.store.test_doctor import DAY_MS, findings, repaired, use_long_ago, waiting_job


async def test_a_record_that_cannot_be_read_is_reported_and_nothing_that_is_beside_it(queue: Queue) -> None:
    key = await waiting_job(queue)
    await queue.redis.hset(queue.keys.job(key), "state", "banana")
    await queue.redis.set(queue.keys.outcome(key), "old")
    found = await findings(queue)
    assert f"error: 1 key of the wrong type or unreadable: job:{key}" in found
    assert not any("record is gone" in line for line in found)


async def test_a_running_job_without_an_entry_is_left_to_its_worker_while_that_lives(queue: Queue) -> None:
    job = await queue.running(worker="w1")
    await queue.renew(job, worker="w1")
    await queue.delete_entry(job.key)
    assert not any("nothing would wake" in line for line in await findings(queue))
    await queue.redis.delete(queue.keys.worker("w1"))
    assert any("nothing would wake" in line for line in await findings(queue))


async def test_a_job_that_waits_for_its_next_attempt_is_not_left_to_its_last_worker(queue: Queue) -> None:
    job = await queue.running(worker="w1")
    await queue.settle(retry(job, delay_ms=LONG_MS))
    await queue.renew(worker="w1")
    await queue.redis.delete(queue.keys.delayed)
    assert any("nothing would wake" in line for line in await findings(queue))


async def test_a_running_job_whose_worker_is_gone_is_not_stranded_while_its_lease_can_be_lost(queue: Queue) -> None:
    await queue.running(worker="w1")
    assert not any("nothing would wake" in line for line in await findings(queue))


async def test_a_number_that_is_none_does_not_stop_the_audit(queue: Queue) -> None:
    job = await queue.make(State.SUCCEEDED)
    await queue.redis.hset(queue.keys.job(job.key), "ttl", "nan")
    await queue.redis.persist(queue.keys.job(job.key))
    await repaired(queue)
    assert await queue.ttl(queue.keys.job(job.key)) > 0
    await queue.redis.hset(queue.keys.meta, "idle", "x")
    await queue.redis.delete(*(queue.keys.job(job.key), queue.keys.message(job.key)))
    assert await registry.find_unused(queue.broker, mark=False) == []


async def test_what_was_set_aside_has_an_end(queue: Queue) -> None:
    name = f"{queue.keys.prefix}broken:meta:1"
    await queue.redis.set(name, "x")
    assert await repaired(queue) == ["1 key without a time to live: broken:meta:1: given one"]
    assert await queue.ttl(name) > 0


async def test_keys_that_are_not_ours_and_have_an_end_are_nobodys_damage(queue: Queue) -> None:
    await queue.redis.set(f"{queue.keys.prefix}notes", "of somebody", ex=100)
    assert await findings(queue) == []


async def test_a_key_that_is_gone_meanwhile_is_no_damage(queue: Queue) -> None:
    assert await queue.broker.run("check_keys", QUEUE, "repair", "job:" + "0" * 24, "dead") == []


async def test_a_running_jobs_entry_stands_for_it(queue: Queue) -> None:
    job = await queue.running(worker="w1")
    await queue.renew(job, worker="w1")
    assert await findings(queue) == await repaired(queue) == []
    assert await queue.settle(succeed(job)) == []


async def test_an_entry_of_a_job_that_has_ended_stands_for_nothing(queue: Queue) -> None:
    await queue.renew(worker="w1")
    lane = queue.keys.lane("normal")
    job = await queue.running()
    backup = await queue.redis.dump(lane)
    await queue.settle(succeed(job))
    await queue.redis.restore(lane, 0, backup, replace=True)
    await repaired(queue)
    assert await queue.entries() == 0


async def test_a_member_that_is_gone_meanwhile_is_no_damage(queue: Queue) -> None:
    assert await queue.broker.run("prune", QUEUE, "repair", "dead", "0" * 24) == []


async def test_a_queue_with_damage_is_not_forgotten(queue: Queue) -> None:
    await use_long_ago(queue)
    await queue.redis.delete(queue.keys.lane("low"))
    await queue.redis.set(queue.keys.lane("low"), "x")
    assert await queue.broker.run("forget", QUEUE, "forget", 0) == 0
    assert await queue.redis.get(queue.keys.lane("low")) == b"x"


async def test_a_queue_whose_groups_are_gone_is_forgotten_all_the_same(queue: Queue) -> None:
    await use_long_ago(queue)
    await queue.redis.delete(queue.keys.lane("low"))
    assert await queue.broker.run("forget", QUEUE, "forget", 0) == 1


async def test_a_queue_is_marked_only_when_asked_to(queue: Queue) -> None:
    assert await registry.find_unused(queue.broker, mark=False) == []
    assert not await queue.redis.exists(queue.keys.meta)


async def test_a_queue_that_was_used_of_late_is_not_forgotten(queue: Queue) -> None:
    await queue.settle(succeed(await queue.running()))
    await queue.redis.hset(queue.keys.meta, "idle", "1")  # it was unused before
    async for name in queue.redis.scan_iter(match=queue.keys.prefix + "*:" + "?" * 24):
        await queue.redis.delete(name)
    assert not await registry.forget(queue.broker, QUEUE)


async def test_looking_whether_a_queue_is_unused_forgets_nothing(queue: Queue) -> None:
    await use_long_ago(queue)
    assert await registry.find_unused(queue.broker, mark=False) == [QUEUE]
    assert await queue.redis.exists(queue.keys.lane("normal"))


async def test_a_queue_with_a_member_in_a_set_is_not_forgotten(queue: Queue) -> None:
    await use_long_ago(queue)
    await queue.redis.zadd(queue.keys.delayed, {"0" * 24: 1})
    assert await queue.broker.run("forget", QUEUE, "forget", 0) == 0


async def test_a_queue_with_a_live_consumer_is_not_forgotten(queue: Queue) -> None:
    await use_long_ago(queue)
    await queue.redis.xgroup_createconsumer(queue.keys.lane("low"), "workers", "w1")
    await queue.renew(worker="w1")
    assert await queue.broker.run("forget", QUEUE, "forget", 0) == 0


async def test_a_dead_letter_gets_back_a_time_to_live_that_is_longer_than_others(queue: Queue) -> None:
    job = await queue.running(result_ttl_ms=40 * DAY_MS)
    await queue.settle(fail(job, State.DEAD))
    await queue.redis.persist(queue.keys.job(job.key))
    await repaired(queue)
    assert await queue.ttl(queue.keys.job(job.key)) > 39 * DAY_MS


async def test_a_running_job_that_names_no_worker_is_reported_when_it_is_stranded(queue: Queue) -> None:
    job = await queue.running()
    await queue.redis.hdel(queue.keys.job(job.key), "worker")
    await queue.delete_entry(job.key)
    assert any("nothing would wake" in line for line in await findings(queue))


async def test_a_mark_that_is_none_forgets_no_queue(queue: Queue) -> None:
    for garbage in (b"x", b"nan", b"-1"):
        await queue.redis.hset(queue.keys.meta, "idle", garbage)
        assert await queue.broker.run("forget", QUEUE, "forget", DAY_MS) == 0


async def test_the_progress_ends_at_all(queue: Queue) -> None:
    for _ in range(20):
        await queue.submit()
    shown: list[tuple[str, int, int]] = []
    await doctor.examine_queue(queue.broker, QUEUE, lambda *progress: shown.append(progress))
    assert shown[-1][0] == QUEUE
    assert shown[-1][1] == shown[-1][2] >= 60  # records, messages and entries
    assert [done for _, done, _ in shown] == sorted(done for _, done, _ in shown)
