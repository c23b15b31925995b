"""One model version at work: a batch of records to predictions and dead letters."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from millrace.codec.dead_letters import Circumstances, dead_letters
from millrace.codec.predictions import Identity, PredictionEncoder
from millrace.core.batching import Costs
from millrace.core.clock import Clock
from millrace.core.columns import Decoded, Decoder, Rejection
from millrace.core.errors import InvalidRecordError
from millrace.core.outputs import Outputs
from millrace.core.records import OutputBatch, RecordBatch
from millrace.serving.engine import Engine
from millrace.serving.transforming import UntransformableError
from millrace_scorer.logic.lineup import Lineup
from millrace_scorer.logic.ports import Scored, Tally

DECODE: Final = "decode"
TRANSFORM: Final = "transform"
INFER: Final = "infer"
ENCODE: Final = "encode"

NOTHING: Final = Outputs(np.empty((0, 0), np.float32), None)
"""The answers to no rows."""


@dataclass(frozen=True, slots=True)
class OutputTopics:
    """Where predictions go, and the records that get none."""

    predictions: str
    dead_letters: str


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model made of a record batch.

    Attributes:
        decoded: The rows that have an answer, and the records that could not be decoded.
        outputs: One per row.
        bins: One per row.
        refused: Records that the model refuses.
        untransformed: Records that the model's transform refuses.
        left_out: How many rows a filter of the transform left out; they come to nothing.
    """

    decoded: Decoded
    outputs: Outputs
    bins: Sequence[bytes]
    refused: tuple[Rejection, ...] = ()
    untransformed: tuple[Rejection, ...] = ()
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.outputs)

    def take(self, rows: NDArray[np.intp]) -> "Answers":
        """These rows, ascending."""
        if len(rows) == len(self):
            return self
        bins = list(map(self.bins.__getitem__, rows.tolist()))
        return replace(self, decoded=take_rows(self.decoded, rows), outputs=self.outputs.take(rows), bins=bins)


@dataclass(frozen=True, slots=True)
class ModelScoring:
    """Decodes, infers and encodes with one model version. See `millrace_scorer.logic.ports.Scoring`.

    Attributes:
        identity: What made the predictions.
        decoder: Compiled from the model's signature and the stream's format.
        engine: The model.
        encoder: Compiled from the model's identity.
        topics: Where outputs go.
        circumstances: What dead letters say about where they failed.
        costs: What micro-batches cost with this model.
        clock: Times the stages.
        lineup: Who answers; None for a model that stands in for a better one, whose predictions say so.
    """

    identity: Identity
    decoder: Decoder
    engine: Engine
    encoder: PredictionEncoder
    topics: OutputTopics
    circumstances: Circumstances
    costs: Costs
    clock: Clock
    lineup: Lineup | None

    def score(self, records: RecordBatch, *, wall_ms: int) -> Scored:
        """Score every record or make a dead letter of it."""
        watch = StopWatch(self.clock)
        answers = self.answer(records, watch)
        with watch.stage(ENCODE):
            values = self.encode(records, answers, wall_ms=wall_ms)
            predictions = beside_their_inputs(records, answers.decoded, self.topics.predictions, values)
            letters = self.letters(records, answers, wall_ms=wall_ms)
        tally = self.tally(records, answers)
        return Scored(tuple(filter(len, (predictions, *letters))), tally, watch.seconds, was_bisected(answers))

    def answer(self, records: RecordBatch, watch: "StopWatch") -> Answers:
        """Decode and infer."""
        with watch.stage(DECODE):
            decoded = self.decoder.decode(records)
        if not len(decoded.columns):
            return Answers(decoded, NOTHING, [])
        with watch.stage(INFER):
            inference = self.engine.infer(decoded.columns)
        if len(inference.scored) == len(decoded.columns):
            return Answers(decoded, inference.outputs, inference.bins)
        refused = _refused_records(decoded, inference.refused)
        rows, kept = _without_records(decoded, inference.scored, refused)
        return Answers(
            take_rows(decoded, rows),
            inference.outputs.take(kept),
            list(map(inference.bins.__getitem__, kept.tolist())),
            tuple(each for each in refused if not isinstance(each.error, UntransformableError)),
            tuple(each for each in refused if isinstance(each.error, UntransformableError)),
            left_out=len(decoded.columns) - len(inference.scored) - len(inference.refused),
        )

    def encode(self, records: RecordBatch, answers: Answers, *, wall_ms: int) -> Sequence[bytes]:
        """The value of each answer's prediction."""
        return self.encoder.encode(
            records,
            answers.decoded,
            answers.outputs,
            bins=answers.bins,
            scored_at_ms=wall_ms,
            degraded=self.lineup is None,
        )

    def letters(self, records: RecordBatch, answers: Answers, *, wall_ms: int) -> list[OutputBatch]:
        """Dead letters of the records that have no answer."""
        return [
            dead_letters(
                records,
                rejections,
                topic=self.topics.dead_letters,
                stage=stage,
                circumstances=self.circumstances,
                failed_at_ms=wall_ms,
            )
            for stage, rejections in (
                (DECODE, answers.decoded.rejections),
                (TRANSFORM, answers.untransformed),
                (INFER, answers.refused),
            )
            if rejections
        ]

    def tally(self, records: RecordBatch, answers: Answers) -> Tally:
        """What became of the records."""
        rejections = (*answers.decoded.rejections, *answers.untransformed, *answers.refused)
        return Tally(
            consumed=len(records),
            predicted=len(answers),
            degraded=len(answers) if self.lineup is None else 0,
            dead_lettered=Counter(rejection.error.reason for rejection in rejections),
            left_out=answers.left_out,
        )


@dataclass(slots=True)
class StopWatch:
    """Times the stages of a batch."""

    clock: Clock
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside; a stage that is entered again goes on."""
        started = self.clock.monotonic()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + self.clock.monotonic() - started


def was_bisected(answers: Answers) -> bool:
    """Whether some records had to be set apart from the rest."""
    return bool(answers.refused or answers.untransformed or answers.decoded.rejections)


def take_rows(decoded: Decoded, rows: NDArray[np.intp]) -> Decoded:
    """These rows, in this order."""
    ids = None if decoded.event_ids is None else list(map(decoded.event_ids.__getitem__, rows.tolist()))
    columns = decoded.columns.take(rows)
    return replace(decoded, columns=columns, source=decoded.source[rows], rows=decoded.rows[rows], event_ids=ids)


def beside_their_inputs(records: RecordBatch, decoded: Decoded, topic: str, values: Sequence[bytes]) -> OutputBatch:
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
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The rows of records without a refused row, and where these lie among the scored rows."""
    gone = [rejection.row for rejection in refused]
    kept = np.flatnonzero(~np.isin(decoded.source[scored], gone))
    return scored[kept], kept
