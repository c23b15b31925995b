"""The online store, written: one topic's table, moved forward a batch at a time and never back.

Values and the offset that they go up to change together, in one script: whoever looks sees both or neither, and a
snapshot or a replica has both or neither. A batch says where it takes the table to be, and is refused when it is
elsewhere, because another process moved it or because the server lost data. So a batch that is sent twice is harmless,
two writers of a partition cannot undo each other's work, and a server that comes back with older data, or with none, is
simply read to the end again.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain, compress, islice, repeat
from operator import is_
from typing import Any, Final

import numpy as np

from millrace.core.errors import RequestError
from millrace.core.records import RecordBatch
from millrace.process.settings import RedisSettings
from millrace.store.online_layout import encode_values, table_key, value_keys
from millrace.store.redis_client import connect, reaching

_OPEN: Final = """
local table, id, partitions = KEYS[1], ARGV[1], tonumber(ARGV[2])
local known = redis.call('HGET', table, 'topic')
if known and known ~= id then return {} end
local counted = tonumber(redis.call('HGET', table, 'partitions') or 0)
if counted < partitions then
  redis.call('HINCRBY', table, 'filling', partitions - counted)
  redis.call('HSET', table, 'topic', id, 'partitions', partitions)
end
local places = {}
for i = 3, #ARGV, 3 do
  local place = redis.call('HGET', table, 'next:' .. ARGV[i])
  if not place then
    place = ARGV[i + 1]
    redis.call('HSET', table, 'next:' .. ARGV[i], place, 'target:' .. ARGV[i], ARGV[i + 2])
    if tonumber(place) >= tonumber(ARGV[i + 2]) then redis.call('HINCRBY', table, 'filling', -1) end
  end
  places[#places + 1] = place
end
return places
"""
"""ARGV: the topic's id, its number of partitions; then by partition its number, first offset and end."""

_APPLY: Final = """
local table, partition, from, to, deleted = KEYS[1], ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local place = redis.call('HGET', table, 'next:' .. partition)
if place ~= from then return place end
for i = 6, 5 + deleted, 4000 do redis.call('UNLINK', unpack(ARGV, i, math.min(i + 3999, 5 + deleted))) end
if ARGV[5] == 'forever' then
  for i = 6 + deleted, #ARGV, 4000 do redis.call('MSET', unpack(ARGV, i, math.min(i + 3999, #ARGV))) end
else
  for i = 6 + deleted, #ARGV, 3 do redis.call('SET', ARGV[i], ARGV[i + 1], 'PXAT', ARGV[i + 2]) end
end
redis.call('HSET', table, 'next:' .. partition, to)
local target = tonumber(redis.call('HGET', table, 'target:' .. partition))
if tonumber(from) < target and tonumber(to) >= target then redis.call('HINCRBY', table, 'filling', -1) end
return to
"""
"""ARGV: partition, from, to, count of deleted keys, how long values last; deleted keys; keys, values (and expiries)."""

_SCAN_KEYS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Upsert:
    """What one partition's next records make of a table.

    Attributes:
        partition: The partition.
        expected: Up to where the table is thought to hold the partition.
        next_offset: Up to where it will hold it afterwards.
        records: The newest record of each key between the two; a tombstone deletes. Every record has a key.
    """

    partition: int
    expected: int
    next_offset: int
    records: RecordBatch


class OnlineTable:
    """One topic's table. Not thread-safe.

    Args:
        redis: Where it is.
        topic: Name of the topic.
        topic_id: Kafka's id of the topic, which no other topic has, before or after, of whatever name.
        ttl: How long after its record's timestamp a value is kept; None keeps it until a tombstone.

    Raises:
        RequestError: The password file cannot be read.
    """

    def __init__(self, redis: RedisSettings, topic: str, *, topic_id: str, ttl: timedelta | None = None) -> None:
        self._settings: Final = redis
        self._redis: Final = connect(redis)
        self._topic: Final = topic
        self._topic_id: Final = topic_id
        self._ttl_ms: Final = None if ttl is None else round(ttl / timedelta(milliseconds=1))
        self._table: Final = table_key(redis.namespace, topic)

    def open(self, bounds: Mapping[int, tuple[int, int]], *, partitions: int) -> dict[int, int]:
        """Up to where the table holds each of these partitions. What it has never held is noted as to be filled.

        Args:
            bounds: By partition its first offset, and one past its last.
            partitions: How many the topic has, of which `bounds` may be some.

        Raises:
            RequestError: The table is another topic's, or the server throws values away when its memory is full.
            TransientError: The store is away, slow or full.
            FatalError: It refuses this client.
        """
        triples = chain.from_iterable((number, *ends) for number, ends in bounds.items())
        with self._reaching("opening"), self._redis.pipeline(transaction=False) as pipeline:
            pipeline.info("memory")
            pipeline.eval(_OPEN, 1, self._table, self._topic_id, partitions, *triples)
            memory, places = pipeline.execute()
        self._require_keeping(str(memory.get("maxmemory_policy", "noeviction")))
        if len(places) < len(bounds):
            raise RequestError(
                f"the table {self._topic} of the online store is of an earlier topic of this name",
                remedy=f"millrace-materializer --topic {self._topic} --forget, then start it again",
            )
        return dict(zip(bounds, map(int, places), strict=True))

    def places(self, partitions: Collection[int]) -> dict[int, int | None]:
        """Up to where the table holds these partitions, None where it does not know them. Raises as `apply`."""
        asked = list(partitions)
        with self._reaching("looking at"):
            found = self._redis.hmget(self._table, [f"next:{number}" for number in asked])
        return {number: None if place is None else int(place) for number, place in zip(asked, found, strict=True)}

    def apply(self, upserts: Sequence[Upsert]) -> dict[int, int | None]:
        """Move partitions forward, in one round trip; each of them wholly, or not at all.

        Returns:
            Where each partition is now. Where that is not its `next_offset`, the table was not where the upsert
            expected it, and nothing was changed: None where the store has lost the table.

        Raises:
            TransientError: The store is away, slow or full; which upserts were applied, only `open` can say.
            FatalError: It refuses this client.
        """
        with self._reaching("writing"), self._redis.pipeline(transaction=False) as pipeline:
            for upsert in upserts:
                pipeline.eval(_APPLY, 1, self._table, *self._arguments(upsert))
            answers = pipeline.execute()
        places = (None if place is None else int(place) for place in answers)
        return dict(zip((upsert.partition for upsert in upserts), places, strict=True))

    def forget(self) -> int:
        """Delete the table and all its values, and say how many. Nobody may be writing it. Raises as `apply`."""
        count = 0
        with self._reaching("deleting"):
            self._redis.unlink(self._table)
            # Nothing in the name means anything to a pattern: it is letters, digits, dots, dashes and braces.
            found = self._redis.scan_iter(match=self._table + b":*", count=_SCAN_KEYS)
            while keys := list(islice(found, _SCAN_KEYS)):
                count += int(self._redis.unlink(*keys))
        return count

    def close(self) -> None:
        """Close the connections. May be called twice."""
        self._redis.close()

    def _arguments(self, upsert: Upsert) -> Iterator[Any]:
        records, namespace = upsert.records, self._settings.namespace
        gone = np.fromiter(map(is_, records.values, repeat(None)), np.bool_, len(records))
        kept = records.take(np.flatnonzero(~gone)) if gone.any() else records
        deleted = value_keys(namespace, self._topic, list(compress(records.keys, gone)))  # type: ignore[arg-type]
        columns: list[Sequence[Any]] = [
            value_keys(namespace, self._topic, kept.keys),  # type: ignore[arg-type]  # no key is None
            encode_values(kept),
        ]
        if self._ttl_ms is not None:
            columns.append((kept.timestamps_ms + self._ttl_ms).tolist())
        lasting = "forever" if self._ttl_ms is None else "expiring"
        head = (upsert.partition, upsert.expected, upsert.next_offset, len(deleted), lasting)
        return chain(head, deleted, chain.from_iterable(zip(*columns, strict=True)))

    def _require_keeping(self, policy: str) -> None:
        evicts = policy.startswith("allkeys") or (policy.startswith("volatile") and self._ttl_ms is not None)
        if evicts:
            raise RequestError(
                f"the online store throws values away when its memory is full: maxmemory-policy is {policy}",
                remedy="set its maxmemory-policy to noeviction",
            )

    def _reaching(self, doing: str) -> AbstractContextManager[None]:
        return reaching(self._settings, f"{doing} the table {self._topic}")
