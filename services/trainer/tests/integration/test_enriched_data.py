"""A model whose features come from the online store learns from what its predictions saw."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from trainer_stream import ENDS, STARTED_MS, Loop

from millrace.core.errors import RequestError
from millrace.core.records import OutputBatch
from millrace.kafka.admin import Admin, TopicSpec
from millrace.kafka.writing import Writer
from millrace.process.clock import SystemClock
from millrace.process.retraining import Accepted, OffsetRange
from millrace.serving.streams import StreamCodec
from millrace.serving.training import EVENT_ID
from millrace_trainer.adapters.dataset import Materialised, Materialiser
from millrace_trainer.adapters.logged_features import LoggedFeatures
from millrace_trainer.logic.window import WindowPolicy
from millrace_trainer.settings import Training

ENRICH = [{"table": "stations", "features": ["c"], "key_field": "station"}]


def send(loop: Loop, values: NDArray[np.float32]) -> None:
    """Records that carry a and b, and the station whose c is looked up."""
    documents = [{"a": float(a), "b": float(b), "station": f"s-{row}"} for row, (a, b, _) in enumerate(values)]
    _write(loop, loop.features, documents)


def predict(loop: Loop, fetched: Sequence[float | None], *, source: str | None = None) -> None:
    """Predictions of consecutive records, with what was fetched for them; none where nothing is given."""
    topic = f"{loop.name}.predictions"
    Admin(loop.broker.kafka).ensure_topics([TopicSpec(topic, loop.partitions)])
    documents = [
        None
        if value is None
        else {
            "event_id": loop.event(row),
            "source": {
                "topic": source or loop.features,
                "partition": row % loop.partitions,
                "offset": row // loop.partitions,
            },
            "enriched": {"c": value},
        }
        for row, value in enumerate(fetched)
    ]
    _write(loop, topic, documents)


def _write(loop: Loop, topic: str, documents: Sequence[object]) -> None:
    rows = np.array([row for row, document in enumerate(documents) if document is not None])
    values = [orjson.dumps(documents[row]) for row in rows]
    times = (STARTED_MS + rows * 1000).astype(np.int64)
    with Writer(loop.broker.kafka) as writer:
        writer.write(OutputBatch(topic, (rows % loop.partitions).astype(np.int32), times, [None] * len(rows), values))


def training(loop: Loop) -> Training:
    document = loop.training().model_dump(mode="json", exclude_defaults=True)
    return Training.parse({**document, "enrich": ENRICH, "predictions": f"{loop.name}.predictions"}, subject="the test")


def materialise(loop: Loop, rows: int, folder: Path) -> Materialised:
    """All records and labels of a stream, with what all predictions tell."""
    share = rows // loop.partitions

    def whole(topic: str) -> tuple[OffsetRange, ...]:
        ends = Admin(loop.broker.kafka).ends([topic])
        return tuple(
            OffsetRange(topic=topic, partition=at.partition, first_offset=0, next_offset=int(found.stable))
            for at, found in ends.items()
        )

    accepted = Accepted(
        loop_id="a",
        model=loop.name,
        version=1,
        at=datetime.now(UTC),
        features=whole(loop.features),
        labels=whole(loop.labels),
        predictions=whole(f"{loop.name}.predictions"),
        seed=0,
    )
    assert {each.next_offset for each in accepted.features} == {share}
    with loop.registry() as registry, StreamCodec(training(loop).deployment(), SystemClock()) as codec:
        _, bundle = registry.open(loop.name)
        logged = LoggedFeatures(
            loop.broker.kafka,
            bundle.signature,
            {"c"},
            ["station"],
            source=loop.features,
            ranges=accepted.predictions,
            keep_alive=lambda: None,
        )
        materialiser = Materialiser(
            kafka=loop.broker.kafka,
            decoder=codec.decoder_with(bundle.signature, logged),
            signature=bundle.signature,
            window=WindowPolicy(),
            label_events=10_000,
            keep_alive=lambda: None,
        )
        return materialiser.materialise(accepted, folder)


def test_what_is_learned_from_is_what_each_prediction_saw_to_the_bit(loop: Loop, tmp_path: Path) -> None:
    values = np.random.default_rng(9).normal(size=(400, 3)).astype(np.float32)
    send(loop, values)
    predict(loop, [99.0] * 400, source="somewhere.else")  # such as a gateway's, of requests
    predict(loop, [-1.0] * 4)  # of an attempt that is repeated below, but for the first: the last counts
    predict(loop, [None if row % 4 == 0 else float(c) for row, c in enumerate(values[:, 2])])
    loop.send_labels(values[:, 2] > 0)
    made = materialise(loop, 400, tmp_path)
    assert (made.facts.rows, made.facts.invalid) == (301, 99)
    found = {
        event: c
        for file in (made.train, made.holdout)
        for event, c in zip(*pq.read_table(file).select([EVENT_ID, "c"]).to_pydict().values(), strict=True)
    }
    expected = {loop.event(row): float(c) for row, c in enumerate(values[:, 2]) if row % 4}
    assert found == {loop.event(0): -1.0, **expected}


def test_a_trainer_makes_a_candidate_of_both(loop: Loop) -> None:
    values = np.random.default_rng(8).normal(size=(1000, 3)).astype(np.float32)
    send(loop, values)
    predict(loop, [float(c) for c in values[:, 2]])
    loop.send_labels(values[:, 0] + values[:, 2] > 0)
    loop.request()
    with loop.running(training(loop)):
        loop.wait_for(*ENDS)
    assert loop.steps()[-1] == "promoted"
    evaluation = loop.completed().evaluation
    assert evaluation.champion.value > 0.6  # it knows c, which is not in the records
    assert evaluation.candidate.value > 0.9
    with loop.registry() as registry:
        _, bundle = registry.open(loop.name)
    assert f"{loop.name}.predictions" in {each.topic for each in bundle.manifest.training.topics}


def test_enrich_without_predictions_is_refused(loop: Loop) -> None:
    document = loop.training().model_dump(mode="json", exclude_defaults=True)
    with pytest.raises(RequestError, match="enrich and predictions go together"):
        Training.parse({**document, "enrich": ENRICH}, subject="the test")
