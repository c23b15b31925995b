"""Replays: a range of a topic scored again with any version, and compared with what was predicted then.

Nothing is written to Kafka, and no service takes part. The range is fixed before the first record is read: exact
offsets, which the report names.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from millrace.client.comparing import Answers, Compared, compare, row_keys
from millrace.client.predictions import Prediction, parse_predictions
from millrace.client.table_files import table_file
from millrace.core.columns import Decoder
from millrace.core.errors import RequestError
from millrace.core.records import RecordBatch
from millrace.kafka.admin import Admin
from millrace.kafka.control import ControlView
from millrace.kafka.control_writer import DEPLOYMENTS_TOPIC
from millrace.kafka.ranges import offsets_at, read_range
from millrace.kafka.reading import Position, Reader, Start, Until
from millrace.process.clock import SystemClock
from millrace.process.deployment import Deployment, find_deployment
from millrace.process.retraining import OffsetRange
from millrace.process.settings import KafkaSettings
from millrace.serving.loading import LoadedModel, LoadOptions, load
from millrace.serving.registry import Registry
from millrace.serving.streams import StreamCodec
from millrace.store.blobs import BlobStore

_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class RangeReplayed:
    """What came of a replay.

    Attributes:
        ranges: The records that were read.
        records: How many there were.
        rows: Rows that were scored.
        refused: Records and rows that cannot be scored, by reason.
        left_out: Rows that the model's transform leaves out.
        compared: Scored rows that a prediction was given for.
        equal: Those of them whose label and scores have the same bits.
        same: Those whose label is the same, or for values the bits.
        largest_difference: Between two scores, or values.
    """

    ranges: tuple[OffsetRange, ...]
    records: int = 0
    rows: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    left_out: int = 0
    compared: int = 0
    equal: int = 0
    same: int = 0
    largest_difference: float = 0.0

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "ranges": [each.model_dump() for each in self.ranges],
            "records": self.records,
            "rows": self.rows,
            "refused": dict(self.refused),
            "left_out": self.left_out,
            "compared": self.compared,
            "equal": self.equal,
            "same": self.same,
            "largest_difference": self.largest_difference,
        }

    def add(self, compared: Compared) -> None:
        """Count rows that were scored."""
        self.rows += len(compared.place)
        self.compared += int(compared.is_found.sum())
        self.equal += int(compared.is_equal.sum())
        self.same += int(compared.is_same.sum())
        known = compared.difference[np.isfinite(compared.difference)]
        self.largest_difference = max(self.largest_difference, float(known.max(initial=0)))


@dataclass(frozen=True, slots=True)
class RangeOptions:
    """What to score again.

    Attributes:
        model: Reference of the version that scores: `name/3`, `name@alias`, or `name`, which is `name@champion`.
        begin: The time of the oldest record.
        end: The time that all records are older than.
        document: The deployment's document, where it is not among `millrace.deployments`.
        output: File that gets a row for each scored row; must not exist.
    """

    model: str
    begin: Start = Position.EARLIEST
    end: Start = Position.LATEST
    document: Path | None = None
    output: Path | None = None


def replay(
    kafka: KafkaSettings,
    registry: Registry,
    what: str,
    options: RangeOptions,
    *,
    on_planned: Callable[[int], None],
    on_records: Callable[[int], None],
) -> RangeReplayed:
    """Score a range of a deployment's source, or of a topic, again.

    Args:
        kafka: The cluster.
        registry: Where models are.
        what: A deployment's name, or a topic of JSON records, which is compared with nothing.
        options: Which records, with which version.
        on_planned: Told how many offsets there are to read.
        on_records: Told how many records are done so far.

    Raises:
        RequestError: There is no such deployment, topic or version, or its records are deleted.
        TransientError: The broker or the blob store cannot be reached.
        FatalError: The broker refuses this client, or the model is broken.
    """
    deployment = _deployment(kafka, what, options)
    ranges = plan_ranges(kafka, deployment.source.topic, options.begin, options.end)
    on_planned(sum(each.next_offset - each.first_offset for each in ranges))
    entry, bundle = registry.open(options.model)
    load_options = LoadOptions.of(deployment, engines=registry.shelf.engines)
    with closing(load(bundle, version=entry.version, options=load_options)) as model:
        rescoring = Replay(kafka, deployment, model, blobs=registry.shelf.blobs)
        return rescoring.run(ranges, output=options.output, on_records=on_records)


def _deployment(kafka: KafkaSettings, what: str, options: RangeOptions) -> Deployment:
    if options.document is not None:
        return Deployment.load(options.document)
    topics = Admin(kafka).topic_names()
    if what not in topics:
        if DEPLOYMENTS_TOPIC not in topics:
            return find_deployment({}, what)
        with ControlView(kafka, DEPLOYMENTS_TOPIC) as view:
            return find_deployment(view.refresh(), what)
    document = {"deployment": "replay", "source": {"topic": what}, "model": options.model}
    return Deployment.parse(document, subject=f"a replay of {what}")


def plan_ranges(kafka: KafkaSettings, topic: str, begin: Start, end: Start) -> tuple[OffsetRange, ...]:
    """The offsets between two times, of each partition.

    A range goes from the first record that is as young as the one time, up to the first that is as young as the other.

    Raises:
        RequestError: There is no such topic, or the end is before the begin.
        TransientError: No broker answers.
        FatalError: The broker refuses this client.
    """
    first, last = (_offsets(kafka, topic, each) for each in (begin, end))
    if backward := [number for number, offset in first.items() if last[number] < offset]:
        raise RequestError(
            f"in {topic}-{backward[0]} the end of the range is before its begin", remedy="change --from or --to"
        )
    return tuple(
        OffsetRange(topic=topic, partition=number, first_offset=offset, next_offset=last[number])
        for number, offset in sorted(first.items())
    )


def _offsets(kafka: KafkaSettings, topic: str, at: Start) -> dict[int, int]:
    if isinstance(at, datetime):
        return offsets_at(kafka, topic, at)
    if at is Position.EARLIEST:
        return offsets_at(kafka, topic, _EARLIEST)
    return offsets_at(kafka, topic, datetime.max.replace(tzinfo=UTC))


class Replay:
    """Scores ranges of a deployment's source again.

    Args:
        kafka: The cluster.
        deployment: Says how records are read, and where its predictions are.
        model: What scores them.
        blobs: Where referenced tensors are.

    Raises:
        RequestError: The deployment has features from the online store, which does not know the past.
    """

    def __init__(
        self, kafka: KafkaSettings, deployment: Deployment, model: LoadedModel, *, blobs: BlobStore | None = None
    ) -> None:
        if deployment.enrich:
            raise RequestError(
                f"deployment {deployment.deployment} has features from the online store, which has today's values only",
                remedy="repeat single predictions, which tell what was fetched: millrace explain",
            )
        self._kafka = kafka
        self._deployment = deployment
        self._model = model
        self._blobs = blobs
        self._engine = model.engine
        self._classes = model.signature.classes

    def run(
        self,
        ranges: tuple[OffsetRange, ...],
        *,
        output: Path | None = None,
        on_records: Callable[[int], None] = lambda records: None,
    ) -> RangeReplayed:
        """Score the records of the ranges, partition after partition.

        Args:
            ranges: What to read.
            output: File that gets a row for each scored row: CSV, Parquet, Arrow or JSON lines; must not exist.
            on_records: Told how many records are done so far.

        Raises:
            RequestError: Records of a range are deleted, or the file exists.
            TransientError: The broker cannot be reached.
            FatalError: The broker refuses this client, or the model is broken.
        """
        replayed = RangeReplayed(ranges)
        with ExitStack() as stack:
            codec = stack.enter_context(StreamCodec(self._deployment, SystemClock(), blobs=self._blobs))
            decoder = codec.decoder(self._model.signature, enriched={})
            write = stack.enter_context(table_file(output, self._schema())) if output else _nowhere
            for each in ranges:
                given = self._given(each)
                for records in read_range(self._kafka, each.topic, each.partition, each.first_offset, each.next_offset):
                    write(self._score(records, decoder, given, replayed))
                    replayed.records += len(records)
                    on_records(replayed.records)
        return replayed

    def _score(self, records: RecordBatch, decoder: Decoder, given: Answers, replayed: RangeReplayed) -> pa.RecordBatch:
        """Score a batch, count what came of it, and say it row by row."""
        decoded = decoder.decode(records)
        replayed.refused.update(each.error.reason.value for each in decoded.rejections)
        kept = np.empty(0, np.intp)
        new = Answers.of_predictions((), self._classes)
        if len(decoded.columns):
            inference = self._engine.infer(decoded.columns)
            replayed.refused.update(error.reason.value for _, error in inference.refused)
            kept = inference.scored
            replayed.left_out += len(decoded.columns) - len(kept) - len(inference.refused)
            if len(kept):
                keys = row_keys(records.offsets[decoded.source[kept]], decoded.rows[kept])
                new = Answers.of_outputs(keys, inference.outputs, self._classes)
        compared = compare(new, given)
        replayed.add(compared)
        source = decoded.source[kept]
        places = records.partitions[source], records.offsets[source], decoded.rows[kept], records.timestamps_ms[source]
        return self._table(places, new, given, compared)

    def _table(
        self,
        places: tuple[NDArray[np.generic], ...],
        new: Answers,
        given: Answers,
        compared: Compared,
    ) -> pa.RecordBatch:
        is_new = ~compared.is_found
        arrays = [
            *(pa.array(place).cast(field.type) for place, field in zip(places, self._schema(), strict=False)),
            *_answer_arrays(new, self._classes),
            *_answer_arrays(_aligned(given, compared), self._classes, absent=is_new),
            pa.array(compared.is_equal, mask=is_new),
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema())

    def _schema(self) -> pa.Schema:
        """The columns of the output file."""
        places = [("partition", pa.int32()), ("offset", pa.int64()), ("row", pa.int32()), ("event_time", pa.int64())]
        names = [f"score_{name}" for name in self._classes] or ["value"]
        labels = [("label", pa.string())] if self._classes else []
        answer = [*labels, *((name, pa.float32()) for name in names)]
        return pa.schema([*places, *answer, *((f"given_{name}", kind) for name, kind in answer), ("equal", pa.bool_())])

    def _given(self, each: OffsetRange) -> Answers:
        """What was predicted for the records of a range: the predictions lie in the partition of the same number."""
        pieces = [Answers.of_predictions((), self._classes)]
        for predictions in self._predictions(each):
            inside = [
                prediction
                for prediction in predictions
                if prediction.source.topic == each.topic
                and each.first_offset <= prediction.source.offset < each.next_offset
            ]
            pieces.append(Answers.of_predictions(inside, self._classes))
        return Answers.firsts(pieces)

    def _predictions(self, each: OffsetRange) -> Iterator[list[Prediction]]:
        first = next(
            iter(read_range(self._kafka, each.topic, each.partition, each.first_offset, each.next_offset)), None
        )
        if first is None:
            return
        # A prediction has its input's timestamp, and those of a partition keep the order of their inputs.
        oldest = int(first.timestamps_ms[0])
        start: Start = Position.EARLIEST if oldest < 0 else datetime.fromtimestamp(oldest / 1000, UTC)
        try:
            reader = Reader(
                self._kafka,
                self._deployment.predictions_topic,
                start=start,
                until=Until.NOW,
                partitions=(each.partition,),
            )
        except RequestError:  # nothing was ever predicted
            return
        with reader:
            for batch in reader:
                predictions = parse_predictions(batch, lambda *_: None)
                yield predictions
                if predictions and all(found.source.offset >= each.next_offset for found in predictions):
                    return


def _nowhere(batch: pa.RecordBatch) -> None:
    """Nobody wants the rows."""


def _aligned(given: Answers, compared: Compared) -> Answers:
    """The given answers in the places of the new ones; what stands where there is none means nothing."""
    if not len(given):
        count = len(compared.place)
        return Answers(
            np.zeros(count, np.int64), np.full(count, "", object), np.zeros((count, given.scores.shape[1]), np.float32)
        )
    place = np.maximum(compared.place, 0)
    return Answers(given.keys[place], given.labels[place], given.scores[place])


def _answer_arrays(
    answers: Answers, classes: Sequence[str], *, absent: NDArray[np.bool_] | None = None
) -> list[pa.Array]:
    labels = [pa.array(answers.labels, pa.string(), mask=absent)] if classes else []
    scores = (np.ascontiguousarray(column) for column in answers.scores.T)
    return [*labels, *(pa.array(column, pa.float32(), mask=absent) for column in scores)]
