"""The online store: `python -m tests.perf.online`. One JSON line each.

How fast a materializer fills a table, how long a micro-batch waits for its features, what enriching adds to decoding.
Kafka, Redis and the materializer share the machine.
"""

import argparse
import json
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np

from millrace.codec.json import JsonDecoder
from millrace.codec.limits import Limits
from millrace.core.columns import Decoder
from millrace.core.records import OutputBatch
from millrace.core.signature import Feature, ModelInput, Signature, Task
from millrace.kafka.admin import Admin, TopicSpec
from millrace.kafka.writing import NOW, Writer
from millrace.process.clock import SystemClock
from millrace.process.deployment import Enrichment
from millrace.process.settings import KafkaSettings, Settings
from millrace.serving.enriching import EnrichingDecoder
from millrace.serving.online_features import OnlineFeatures
from millrace.store.local_redis import LocalRedis
from millrace.store.lookup import Lookup
from millrace.store.online import OnlineStore
from millrace.store.online_table import OnlineTable
from millrace.testing.broker import temporary_broker
from millrace.testing.records import record_batch
from millrace.testing.redis import temporary_redis
from millrace.testing.running import at_work
from millrace.testing.waiting import eventually
from millrace_materializer.app import Materializer, Order

PARTITIONS: Final = 4
VALUE: Final = b'{"mean":12.5,"pressure":1013.25,"humidity":0.5,"wind":3.25,"station":"bergen","note":"%b"}' % (
    b"x" * 80
)
BATCHES: Final = (1, 100, 1_000, 5_000, 20_000)
MODEL: Final = Signature(
    (Feature("a"), Feature("b"), Feature("mean"), Feature("wind")),
    (ModelInput("x", ("a", "b", "mean", "wind")),),
    Task.REGRESSION,
    "y",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=600_000, help="records of a topic (default 600000)")
    records = parser.parse_args(arguments).records
    with ExitStack() as stack:
        kafka = stack.enter_context(temporary_broker()).kafka
        redis = stack.enter_context(temporary_redis())
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        every, some = (_topic(kafka, records, keys) for keys in (records, 10_000))
        for topic, keys in ((every, records), (some, 10_000)):
            _emit("fill", keys=keys, records_per_sec=round(_fill(kafka, redis, home, topic, records)))
        with OnlineStore(redis.settings) as store:
            for size in BATCHES:
                _measure_batch(store, some, size)


def _topic(kafka: KafkaSettings, records: int, keys: int) -> str:
    topic = f"perf-{uuid.uuid4().hex[:8]}.features"
    Admin(kafka).ensure_topics([TopicSpec(topic, PARTITIONS)])
    count = records // PARTITIONS
    with Writer(kafka) as writer:
        for partition in range(PARTITIONS):
            names = [b"k%d-%d" % (row % (keys // PARTITIONS), partition) for row in range(count)]
            places = np.full(count, partition, np.int32)
            writer.write(OutputBatch(topic, places, np.full(count, NOW, np.int64), names, [VALUE] * count))
        writer.flush()
    return topic


def _fill(kafka: KafkaSettings, redis: LocalRedis, home: Path, topic: str, records: int) -> float:
    """Records per second from the first that is there to the last."""
    made = Materializer(Settings(home=home), kafka, redis.settings, Order(topic), clock=SystemClock())
    with at_work(made.run, name="materializer"), closing(OnlineTable(redis.settings, topic, topic_id="")) as table:

        def moved() -> int:
            return sum(place or 0 for place in table.places(range(PARTITIONS)).values())

        begun = eventually(moved, within=timedelta(seconds=60), what="the first records")
        started = time.perf_counter()
        eventually(lambda: moved() >= records // PARTITIONS * PARTITIONS, within=timedelta(minutes=5), what="the last")
        return (records - begun) / (time.perf_counter() - started)


def _measure_batch(store: OnlineStore, topic: str, size: int) -> None:
    keys = [b"k%d-%d" % (row % 2_500, row % PARTITIONS) for row in range(size)]
    batch = record_batch([b'{"a":1.5,"b":-2}'] * size, keys=keys)

    def compiled(signature: Signature, *_: object) -> Decoder:
        return JsonDecoder(signature, limits=Limits())

    wanted = [Enrichment(table=topic, features=("mean", "wind"))]
    online = OnlineFeatures(MODEL, wanted, store, compiled, clock=SystemClock(), on_fetch=_hear_nothing)
    enriching = EnrichingDecoder(MODEL, online, compiled)
    carried = Signature(MODEL.features[:2], (ModelInput("x", ("a", "b")),), Task.REGRESSION, "y")
    plain = JsonDecoder(carried, limits=Limits())
    _emit(
        "batch",
        records=size,
        fetch_ms=_median_ms(lambda: store.fetch([Lookup(topic, keys)])),
        decode_ms=_median_ms(lambda: plain.decode(batch)),
        decode_and_enrich_ms=_median_ms(lambda: enriching.decode(batch)),
    )


def _median_ms(call: Callable[[], object]) -> float:
    call()
    spans = []
    for _ in range(15):
        started = time.perf_counter()
        call()
        spans.append(time.perf_counter() - started)
    return round(median(spans) * 1000, 3)


def _hear_nothing(*, seconds: float, defaulted: int) -> None:
    """Nobody wants to know."""


def _emit(what: str, **figures: float) -> None:
    print(json.dumps({"what": what, **figures}), flush=True)  # noqa: T201 - figures go to stdout


if __name__ == "__main__":
    main()
