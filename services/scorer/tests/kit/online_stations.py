"""A table of the online store with a feature of a stream's model, written as a materializer does."""

import socket
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace

from scorer_stream import Stream

from millrace.process.deployment import Deployment
from millrace.process.settings import HealthSettings, RedisSettings
from millrace.store.online_table import OnlineTable, Upsert
from millrace.testing.records import record_batch


def table_of(s: Stream) -> str:
    return f"{s.name}.stations"


def write_table(s: Stream, redis: RedisSettings, values: Mapping[bytes, bytes], *, at: int = 0) -> int:
    """Do what a materializer does. Returns where the table is then."""
    records = record_batch(list(values.values()), topic=table_of(s), first_offset=at, keys=list(values))
    with closing(OnlineTable(redis, table_of(s), topic_id="one")) as table:
        table.open({0: (0, 0)}, partitions=1)
        place = table.apply([Upsert(0, at, at + len(records), records)])[0]
    assert place == at + len(records)
    return place


def enriched(s: Stream, redis: RedisSettings, **changes: object) -> tuple[Stream, Deployment]:
    """The stream with an online store, and a deployment that takes the feature c from it."""
    health = HealthSettings(port=free_port())
    connected = replace(s, settings=s.settings.model_copy(update={"redis": redis, "health": health}))
    return connected, connected.deployment(enrich=[{"table": table_of(s), "features": ["c"], **changes}])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
