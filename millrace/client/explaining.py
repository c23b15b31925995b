"""Explaining a prediction: find its input, score it again with the same model, and compare to the last bit."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import numpy as np

from millrace.client.dead_letters import DeadLetter, letters_of
from millrace.client.predictions import SUFFIX, Prediction, parse_prediction
from millrace.core.columns import FeatureColumns
from millrace.core.errors import InvalidRecordError, MillraceError, RequestError
from millrace.core.records import Coordinates, RecordBatch
from millrace.kafka.reading import Position, Reader, find
from millrace.process.clock import SystemClock
from millrace.process.deployment import Deployment
from millrace.process.settings import KafkaSettings
from millrace.serving.execution import Execution
from millrace.serving.loading import LoadedModel, LoadOptions, load
from millrace.serving.shelf import Shelf
from millrace.serving.streams import StreamCodec
from millrace.store.blobs import BlobStore


class Verdict(StrEnum):
    """What became of a record, and whether scoring it again agrees."""

    EQUAL = "equal"
    """Scored again, every number of the answer has the same bits."""
    DIFFERENT = "different"
    """Scored again, the answer differs."""
    NOT_REPEATED = "not_repeated"
    """It has a prediction, but it could not be scored again here."""
    DEAD_LETTER = "dead_letter"
    """It could not be scored, and lies in the dead letter queue."""
    NO_OUTCOME = "no_outcome"
    """It has neither a prediction nor a dead letter."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answers for one row: a class with scores, or a value; and the row's bins."""

    label: str | None
    scores: Mapping[str, float]
    value: float | None
    bins: str

    def equals(self, prediction: Prediction) -> bool:
        """Whether the prediction has the same answer, every number as the same float."""
        return (
            (self.label, self.bins) == (prediction.label, prediction.bins)
            and self.scores.keys() == prediction.scores.keys()
            and all(_same_bits(score, prediction.scores[name]) for name, score in self.scores.items())
            and _same_bits(self.value, prediction.value)
        )


@dataclass(frozen=True, slots=True)
class Explanation:
    """What became of one record.

    Attributes:
        source: Where the record lies.
        record: The record, as a batch of one.
        verdict: What became of it.
        remark: What else there is to say, in one line; empty where there is nothing.
        prediction: Its prediction.
        dead_letter: Its dead letter.
        features: The row as the model saw it, by feature.
        answer: What the model answers now.
    """

    source: Coordinates
    record: RecordBatch
    verdict: Verdict
    remark: str = ""
    prediction: Prediction | None = None
    dead_letter: DeadLetter | None = None
    features: Mapping[str, Any] | None = None
    answer: Answer | None = None

    def document(self) -> dict[str, Any]:
        """The explanation as JSON values. Bytes that are no UTF-8 are shown with backslashes."""
        answer = self.answer
        return {
            "source": str(self.source),
            "verdict": self.verdict.value,
            "remark": self.remark,
            "key": _text(self.record.keys[0]),
            "value": _text(self.record.values[0]),
            "timestamp": int(self.record.timestamps_ms[0]),
            "prediction": self.prediction.document() if self.prediction else None,
            "dead_letter": self.dead_letter.document() if self.dead_letter else None,
            "features": self.features,
            "again": None
            if answer is None
            else {"label": answer.label, "scores": answer.scores, "value": answer.value, "bins": answer.bins},
        }


_SHOWN_ELEMENTS: Final = 1_000
"""A tensor of more elements, which came by reference, is not written out."""

_ROW_REMEDY: Final = "a record of many rows has rows 0, 1, 2, ...: write TOPIC-PARTITION-OFFSET.ROW"


def explain(
    kafka: KafkaSettings, shelf: Shelf, record: RecordBatch, deployment: Deployment, *, row: int = 0
) -> Explanation:
    """Find the outcome of a record, and score the record again with the model that its prediction names.

    Blocks while it looks through the outcomes that are as young as the record or younger.

    Args:
        kafka: The cluster.
        shelf: Where model files are.
        record: The record, as a batch of one.
        deployment: Whose outcome is wanted; also says how records are read.
        row: Which row of a record that carries many.

    Raises:
        RequestError: The deployment has no predictions topic.
        TransientError: No broker answers.
        FatalError: The broker refuses this client.
    """
    source = replace(record.coordinates(0), row=row)
    prediction = find_prediction(kafka, deployment.predictions_topic, source, int(record.timestamps_ms[0]))
    if prediction is not None:
        return _repeated(record, source, prediction, shelf, deployment)
    letter = find_dead_letter(kafka, deployment.dead_letters_topic, source, int(record.timestamps_ms[0]))
    if letter is not None:
        remark = f"{letter.story.reason}: {letter.story.message}"
        return Explanation(source, record, Verdict.DEAD_LETTER, remark, dead_letter=letter)
    topics = f"neither {deployment.predictions_topic} nor {deployment.dead_letters_topic}"
    remark = f"{topics} names it: not scored yet, or left out by its transform?"
    return Explanation(source, record, Verdict.NO_OUTCOME, remark)


def source_of(kafka: KafkaSettings, coordinates: Coordinates) -> Coordinates:
    """Where the record lies that is meant: at the coordinates, or where the prediction at the coordinates came from.

    Raises:
        RequestError: A predictions topic has no prediction there.
        TransientError: No broker answers.
        FatalError: The broker refuses this client.
    """
    if not coordinates.topic.endswith(SUFFIX):
        return coordinates
    try:
        return parse_prediction(find(kafka, coordinates), 0).source
    except InvalidRecordError as error:
        raise RequestError(f"at {coordinates} is no prediction: {error.detail}", remedy="check the offset") from error


def find_prediction(kafka: KafkaSettings, topic: str, source: Coordinates, timestamp_ms: int) -> Prediction | None:
    """The first prediction for `source`. It lies in the partition of its input's number and has its input's timestamp.

    Raises:
        RequestError: There is no such topic.
        TransientError: No broker answers.
        FatalError: The broker refuses this client.
    """
    mark = b'"offset":%d' % source.offset
    for batch in _younger(kafka, topic, source.partition, timestamp_ms):
        for row, value in enumerate(batch.values):
            # JSON that does not hold the offset need not be read to be passed over.
            if value is None or (value.startswith(b"{") and mark not in value):
                continue
            try:
                prediction = parse_prediction(batch, row)
            except InvalidRecordError:
                continue
            if prediction.source == source:
                return prediction
    return None


def find_dead_letter(kafka: KafkaSettings, topic: str, source: Coordinates, timestamp_ms: int) -> DeadLetter | None:
    """The first dead letter for `source`, where the topic exists; otherwise as `find_prediction`."""
    whole = Coordinates(source.topic, source.partition, source.offset)
    try:
        for batch in _younger(kafka, topic, source.partition, timestamp_ms):
            for letter in letters_of(batch, lambda *_: None):
                if letter.story.source == whole:
                    return letter
    except RequestError:
        return None
    return None


def score_again(
    record: RecordBatch,
    row: int,
    model: LoadedModel,
    deployment: Deployment,
    *,
    enriched: Mapping[str, Any] | None = None,
    blobs: BlobStore | None = None,
) -> tuple[dict[str, Any], Answer]:
    """The features of one row of a record as the model sees them, and what the model answers.

    Args:
        record: The record, as a batch of one.
        row: Which row of a record that carries many.
        model: The model.
        deployment: Says how records are read.
        enriched: Values of the features that came from the online store when it was scored.
        blobs: Where referenced tensors are; None for a deployment without references.

    Raises:
        InvalidRecordError: The record cannot be decoded or scored.
        RequestError: The record has no such row, or the deployment's schemas cannot be read.
    """
    with StreamCodec(deployment, SystemClock(), blobs=blobs) as codec:
        decoded = codec.decoder(model.signature, enriched=enriched or {}).decode(record)
    if decoded.rejections:
        raise decoded.rejections[0].error
    found = np.flatnonzero(decoded.rows == row)
    if not len(found):
        raise RequestError(f"{record.coordinates(0)} has {len(decoded.rows)} rows and no row {row}", remedy=_ROW_REMEDY)
    columns = decoded.columns.take(found)
    inference = model.engine.infer(columns).answering(1)
    if inference.refused:
        raise inference.refused[0][1]
    outputs, classes = inference.outputs, model.signature.classes
    bins = inference.bins[0].decode()
    if outputs.labels is None:
        return _features(columns), Answer(None, {}, _plain(outputs.scores[0]), bins)
    scores = dict(zip(classes, map(_plain, outputs.scores[0]), strict=True))
    return _features(columns), Answer(classes[int(outputs.labels[0])], scores, None, bins)


def _repeated(
    record: RecordBatch, source: Coordinates, prediction: Prediction, shelf: Shelf, deployment: Deployment
) -> Explanation:
    """The explanation of a record that has a prediction."""
    options = LoadOptions(python_functions=deployment.runtime.python_functions)
    try:
        model = load(shelf.take(prediction.digest), version=prediction.version, options=options)
        try:
            features, answer = score_again(
                record, source.row, model, deployment, enriched=prediction.enriched, blobs=shelf.blobs
            )
        finally:
            model.close()
    except MillraceError as error:
        return Explanation(source, record, Verdict.NOT_REPEATED, str(error), prediction)
    verdict = Verdict.EQUAL if answer.equals(prediction) else Verdict.DIFFERENT
    device = Execution.of(deployment).device
    other = "another processor or library version" if device == "cpu" else f"the deployment's {device}"
    remark = "" if verdict is Verdict.EQUAL else f"{other} may round differently"
    return Explanation(source, record, verdict, remark, prediction, features=features, answer=answer)


def _younger(kafka: KafkaSettings, topic: str, partition: int, timestamp_ms: int) -> Iterator[RecordBatch]:
    start = Position.EARLIEST if timestamp_ms < 0 else datetime.fromtimestamp(timestamp_ms / 1000, UTC)
    with Reader(kafka, topic, start=start, partitions=(partition,)) as reader:
        yield from reader


def _features(columns: FeatureColumns) -> dict[str, Any]:
    """The first row's values by feature."""
    return {feature.name: _plain(columns.column(feature.name)[0]) for feature in columns.signature.features}


def _plain(value: Any) -> Any:  # noqa: ANN401 -- a NumPy scalar or array in, JSON values out
    """A value for people and JSON: the shortest decimals that read back as the same float."""
    if isinstance(value, np.ndarray) and value.size > _SHOWN_ELEMENTS:
        return f"{value.size} elements of {value.dtype}"
    if isinstance(value, np.ndarray):
        return list(map(_plain, value))
    return float(str(value)) if isinstance(value, np.floating) else getattr(value, "tolist", lambda: value)()


def _same_bits(one: float | None, other: float | None) -> bool:
    """Whether both are the same 32-bit float, or both absent."""
    if one is None or other is None:
        return one is other
    return np.float32(one).tobytes() == np.float32(other).tobytes()


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "backslashreplace")
