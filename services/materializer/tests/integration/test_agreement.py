"""The table in memory, by which schedules are tested, does what the table on a real Valkey does."""

from random import Random

import pytest
from materializer_world import TOPIC, MemoryTable, Stored

from millrace.store.local_redis import LocalRedis
from millrace.store.lookup import Fullness, Lookup
from millrace.store.online import OnlineStore
from millrace.store.online_table import OnlineTable, Upsert
from millrace.testing.records import record_batch

KEYS = [b"a", b"b", b"c"]


def some_upsert(random: Random, table: MemoryTable) -> Upsert:
    partition = random.randrange(3)
    expected = table.at.get(partition, 0) + random.choice([0, 0, 0, 0, -1, 2])
    keys = random.sample(KEYS, random.randrange(len(KEYS) + 1))
    values = [random.choice([b"1", b"22\n", b"", None]) for _ in keys]
    placed = [b"%b%d" % (key, partition) for key in keys]
    records = record_batch(values, topic=TOPIC, partition=partition, first_offset=max(expected, 0), keys=placed)
    return Upsert(partition, expected, expected + len(keys) + random.randrange(2), records)


def stored(redis: LocalRedis) -> tuple[dict[bytes, Stored], Fullness]:
    keys = [b"%b%d" % (key, partition) for key in KEYS for partition in range(3)]
    with OnlineStore(redis.settings) as store:
        found = store.fetch([Lookup(TOPIC, keys)])[0]
    records = found.records
    pairs = zip(records.keys, records.offsets.tolist(), records.values, strict=True)
    return {key: (offset, value or b"") for key, offset, value in pairs if key is not None}, found.fullness


@pytest.mark.parametrize("seed", range(5))
def test_both_tables_answer_and_hold_the_same(own_redis: LocalRedis, seed: int) -> None:
    random, memory = Random(seed), MemoryTable()
    real = OnlineTable(own_redis.settings, TOPIC, topic_id="one")
    for _ in range(60):
        if random.random() < 0.2:
            bounds = {number: (0, random.randrange(4)) for number in random.sample(range(3), random.randrange(1, 4))}
            assert real.open(bounds, partitions=3) == memory.open(bounds, partitions=3)
        else:
            upserts = [some_upsert(random, memory)]
            assert real.apply(upserts) == memory.apply(upserts)
        assert real.places(range(3)) == memory.places(range(3))
        held, fullness = stored(own_redis)
        assert held == memory.values
        expected = {None: Fullness.ABSENT, 0: Fullness.FILLED}.get(memory.filling, Fullness.FILLING)
        assert fullness is expected
