"""Windowed features of a topic with Faust, on one machine: the same document and the same rows as everywhere.

The states of keys are a Faust table, kept in memory or RocksDB and in a changelog topic. Delivery is at least once, as
Faust's is in fact (decision 15): after a kill a window's row may come again, with the values of what the table holds.

Its settings are in the environment: `FEATURES_TRANSFORM` (path of an exported transform), `FEATURES_FROM`,
`FEATURES_TO`, `FEATURES_FORMAT` (json where absent), `FEATURES_PARTITIONS`, `FAUST_BROKER`, `FAUST_STORE` and
`FAUST_DATA`.
"""

import json
import os
from pathlib import Path

import faust
import numpy as np

from millrace.core.records import RecordBatch
from millrace.process.deployment import RecordFormat
from millrace.serving.features import FeatureStream
from millrace.transform import KeyFold, Program

SOURCE, TARGET = os.environ["FEATURES_FROM"], os.environ["FEATURES_TO"]
PARTITIONS = int(os.environ["FEATURES_PARTITIONS"])
PATH = Path(os.environ["FEATURES_TRANSFORM"])

stream = FeatureStream.of(
    Program.load(json.loads(PATH.read_bytes()), subject=str(PATH)),
    RecordFormat(os.environ.get("FEATURES_FORMAT", "json")),
)
fold = KeyFold(stream.parts.window)

app = faust.App(
    f"{TARGET}-faust",
    broker=f"kafka://{os.environ['FAUST_BROKER']}",
    store=os.environ.get("FAUST_STORE", "memory://"),
    datadir=os.environ["FAUST_DATA"],
    topic_partitions=PARTITIONS,
    topic_replication_factor=1,
    topic_disable_leader=True,
    consumer_auto_offset_reset="earliest",
    web_enabled=False,
    worker_redirect_stdouts=False,
)
records = app.topic(SOURCE, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
features = app.topic(TARGET, key_serializer="raw", value_serializer="raw")
letters = app.topic(f"{TARGET}.dlq", key_serializer="raw", value_serializer="raw")
states = app.Table("windows", partitions=PARTITIONS)


@app.agent(records)
async def make_features(events):  # noqa: ANN001, ANN201 -- Faust injects the stream
    """Fold each record into the windows of its key; one at a time, because Faust's tables know one record at a time."""
    async for event in events.events():
        read = stream.read(_batch(event.message))
        if read.decode or read.transform:
            await letters.send(key=event.message.key, value=event.message.value)
        readings = read.readings
        for key, time_ms, values in zip(readings.keys, readings.times_ms, readings.values, strict=True):
            name = json.dumps(key)
            folded = fold.add(states.get(name), key, time_ms, values)
            states[name] = folded.state
            made = stream.write(folded.closed)
            for row_key, value, at_ms in zip(made.keys, made.values, made.timestamps_ms, strict=True):
                await features.send(key=row_key, value=value, timestamp=at_ms / 1000)


def _batch(message: faust.types.Message) -> RecordBatch:
    return RecordBatch(
        SOURCE,
        np.array([message.partition], np.int32),
        np.array([message.offset], np.int64),
        np.array([int(message.timestamp * 1000)], np.int64),
        [message.key],
        [message.value],
        [list((message.headers or {}).items()) or None],
    )


if __name__ == "__main__":
    app.main()
