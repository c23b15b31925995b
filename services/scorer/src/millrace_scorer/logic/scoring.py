"""One model version at work: a batch of records to predictions and dead letters."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from millrace.codec.dead_letters import Circumstances, dead_letters
from millrace.codec.predictions import PredictionEncoder
from millrace.core.batching import Costs
from millrace.core.clock import Clock
from millrace.core.columns import Decoded, Decoder, Rejection
from millrace.core.errors import InvalidRecordError
from millrace.core.outputs import Outputs
from millrace.core.records import OutputBatch, RecordBatch
from millrace.serving.engine import Engine
from millrace_scorer.logic.ports import Scored, Tally

DECODE: Final = "decode"
INFER: Final = "infer"
ENCODE: Final = "encode"


@dataclass(frozen=True, slots=True)
class OutputTopics:
    """Where predictions go, and the records that get none."""

    predictions: str
    dead_letters: str


@dataclass(frozen=True, slots=True)
class ModelScoring:
    """Decodes, infers and encodes with one model version. See `millrace_scorer.logic.ports.Scoring`.

    Attributes:
        decoder: Compiled from the model's signature and the stream's format.
        engine: The model.
        encoder: Compiled from the model's identity.
        topics: Where outputs go.
        circumstances: What dead letters say about where they failed.
        costs: What micro-batches cost with this model.
        clock: Times the stages.
        degraded: Whether this model stands in for a better one; its predictions say so.
    """

    decoder: Decoder
    engine: Engine
    encoder: PredictionEncoder
    topics: OutputTopics
    circumstances: Circumstances
    costs: Costs
    clock: Clock
    degraded: bool = False

    def score(self, records: RecordBatch, *, wall_ms: int) -> Scored:
        """Score every record or make a dead letter of it."""
        watch = _StopWatch(self.clock)
        with watch.stage(DECODE):
            decoded = self.decoder.decode(records)
        outputs, bins = _nothing(), list[bytes]()
        refused: tuple[Rejection, ...] = ()
        if len(decoded.columns):
            with watch.stage(INFER):
                inference = self.engine.infer(decoded.columns)
            outputs, bins = inference.outputs, inference.bins
            if inference.refused:
                refused = _refused_records(decoded, inference.refused)
                decoded, kept = _without_records(decoded, inference.scored, refused)
                outputs, bins = outputs.take(kept), list(map(bins.__getitem__, kept.tolist()))
        with watch.stage(ENCODE):
            values = self.encoder.encode(
                records, decoded, outputs, bins=bins, scored_at_ms=wall_ms, degraded=self.degraded
            )
            predictions = _beside_their_inputs(records, decoded, self.topics.predictions, values)
            letters = [
                dead_letters(
                    records,
                    rejections,
                    topic=self.topics.dead_letters,
                    stage=stage,
                    circumstances=self.circumstances,
                    failed_at_ms=wall_ms,
                )
                for stage, rejections in ((DECODE, decoded.rejections), (INFER, refused))
                if rejections
            ]
        tally = Tally(
            consumed=len(records),
            predicted=len(values),
            degraded=len(values) if self.degraded else 0,
            dead_lettered=Counter(rejection.error.reason for rejection in (*decoded.rejections, *refused)),
        )
        bisected = bool(refused or decoded.rejections)
        return Scored(tuple(filter(len, (predictions, *letters))), tally, watch.seconds, bisected)


@dataclass(slots=True)
class _StopWatch:
    clock: Clock
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = self.clock.monotonic()
        yield
        self.seconds[name] = self.clock.monotonic() - started


def _nothing() -> Outputs:
    return Outputs(np.empty((0, 0), np.float32), None)


def _beside_their_inputs(records: RecordBatch, decoded: Decoded, topic: str, values: Sequence[bytes]) -> OutputBatch:
    """Predictions with the key, partition and timestamp of their inputs, so that joins stay local and order holds."""
    source = decoded.source
    if len(source) == len(records) and not decoded.rows.any():  # each record is one row: nothing to pick
        return OutputBatch(topic, records.partitions, records.timestamps_ms, records.keys, values)
    keys = list(map(records.keys.__getitem__, source.tolist()))
    return OutputBatch(topic, records.partitions[source], records.timestamps_ms[source], keys, values)


def _refused_records(decoded: Decoded, refused: Sequence[tuple[int, InvalidRecordError]]) -> tuple[Rejection, ...]:
    """A record with a refused row is refused whole, for the reason of its first one."""
    by_record: dict[int, Rejection] = {}
    for row, error in refused:
        record = int(decoded.source[row])
        by_record.setdefault(record, Rejection(record, error))
    return tuple(by_record.values())


def _without_records(
    decoded: Decoded, scored: NDArray[np.intp], refused: Sequence[Rejection]
) -> tuple[Decoded, NDArray[np.intp]]:
    """The rows of records without a refused row, and where these lie among the scored rows."""
    gone = [rejection.row for rejection in refused]
    kept = np.flatnonzero(~np.isin(decoded.source[scored], gone))
    rows = scored[kept]
    ids = None if decoded.event_ids is None else list(map(decoded.event_ids.__getitem__, rows.tolist()))
    columns = decoded.columns.take(rows)
    return replace(decoded, columns=columns, source=decoded.source[rows], rows=decoded.rows[rows], event_ids=ids), kept
