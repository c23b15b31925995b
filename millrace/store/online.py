"""The online store, read: the newest records of topics by their keys, in one round trip for many."""

from collections.abc import Sequence
from itertools import compress, repeat
from operator import is_not
from types import TracebackType
from typing import Any, Final, Self

import numpy as np

from millrace.process.settings import RedisSettings
from millrace.store.lookup import Found, Fullness, Lookup
from millrace.store.online_layout import FILLING, decode_values, table_key, value_keys
from millrace.store.redis_client import connect, reaching


class OnlineStore:
    """Reads what materializers keep. Connects at the first use and again whenever needed; safe from several threads.

    Args:
        redis: Where it is.

    Raises:
        RequestError: The password file cannot be read.
    """

    def __init__(self, redis: RedisSettings) -> None:
        self._settings: Final = redis
        self._redis: Final = connect(redis)

    def fetch(self, lookups: Sequence[Lookup]) -> list[Found]:
        """Look all of it up, in one round trip.

        Raises:
            TransientError: The store is away or slow.
            FatalError: It refuses this client, or holds what no materializer wrote.
        """
        if not lookups:
            return []
        namespace = self._settings.namespace
        distinct = [list(dict.fromkeys(lookup.keys)) for lookup in lookups]
        names = ", ".join(lookup.topic for lookup in lookups)
        with reaching(self._settings, f"looking up {names}"), self._redis.pipeline(transaction=False) as pipeline:
            for lookup, keys in zip(lookups, distinct, strict=True):
                if keys:
                    pipeline.mget(value_keys(namespace, lookup.topic, keys))
                # After the values: data that is lost in between is then seen to be lost.
                pipeline.hget(table_key(namespace, lookup.topic), FILLING)
            answers = iter(pipeline.execute())
        return [
            _found(lookup, keys, next(answers) if keys else [], next(answers))
            for lookup, keys in zip(lookups, distinct, strict=True)
        ]

    def close(self) -> None:
        """Close the connections. May be called twice."""
        self._redis.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _found(lookup: Lookup, keys: list[bytes], values: list[Any], filling: bytes | None) -> Found:
    present = np.fromiter(map(is_not, values, repeat(None)), np.bool_, len(values))
    records = decode_values(lookup.topic, list(compress(keys, present)), list(compress(values, present)))
    row_of_distinct = np.where(present, np.cumsum(present) - 1, -1)
    index = dict(zip(keys, row_of_distinct.tolist(), strict=True))
    rows = np.fromiter(map(index.__getitem__, lookup.keys), np.intp, len(lookup.keys))
    return Found(records, rows, _fullness(filling))


def _fullness(filling: bytes | None) -> Fullness:
    if filling is None:
        return Fullness.ABSENT
    return Fullness.FILLING if int(filling) > 0 else Fullness.FILLED
