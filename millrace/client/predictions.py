"""Predictions as a subscriber sees them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, TypeAlias

from millrace.codec.reading import read_prediction
from millrace.core.errors import InvalidRecordError, RequestError
from millrace.core.records import Coordinates, RecordBatch
from millrace.kafka.admin import Admin
from millrace.kafka.connection import Link
from millrace.kafka.reading import Position, Reader, Start, Until
from millrace.process.settings import KafkaSettings


@dataclass(frozen=True, slots=True)
class Prediction:
    """One prediction.

    Attributes:
        at: Where the prediction lies.
        key: The record's key, which is its input's.
        event_id: The input's own id, or else its coordinates.
        source: Where its input lies.
        deployment: Who made it.
        model: The model's name.
        version: The model's version.
        digest: The sha256 of the model's bundle.
        transform: Fingerprint of the transform, empty without one.
        label: The class, None for regression.
        scores: Score by class; empty for regression.
        value: The predicted value, None for classes.
        bins: One base-36 character per feature: its bin in the model's reference profile.
        event_time_ms: The input's timestamp, milliseconds since 1970.
        scored_at_ms: When it was scored, milliseconds since 1970.
        degraded: Whether a cheaper variant scored it because of overload.
        enriched: Values of the features that came from the online store, None for not a number; empty where none did.
    """

    at: Coordinates
    key: bytes | None
    event_id: str
    source: Coordinates
    deployment: str
    model: str
    version: int
    digest: str
    transform: str
    label: str | None
    scores: Mapping[str, float]
    value: float | None
    bins: str
    event_time_ms: int
    scored_at_ms: int
    degraded: bool = False
    enriched: Mapping[str, Any] = field(default_factory=dict)

    @property
    def latency(self) -> timedelta:
        """From the input's timestamp to its scoring."""
        return timedelta(milliseconds=self.scored_at_ms - self.event_time_ms)

    def document(self) -> dict[str, Any]:
        """The prediction as JSON values, as its topic has it, with the key and `at` added."""
        outputs: dict[str, Any] = {"value": self.value} if self.label is None else {}
        if self.label is not None:
            outputs = {"label": self.label, "scores": dict(self.scores)}
        return {
            "event_id": self.event_id,
            "key": None if self.key is None else self.key.decode("utf-8", "backslashreplace"),
            "source": _place(self.source),
            "deployment": self.deployment,
            "model": self.model,
            "version": self.version,
            "digest": self.digest,
            "transform": self.transform,
            "outputs": outputs,
            "bins": self.bins,
            "event_time": self.event_time_ms,
            "scored_at": self.scored_at_ms,
            **({"degraded": True} if self.degraded else {}),
            **({"enriched": dict(self.enriched)} if self.enriched else {}),
            "at": str(self.at),
        }


OnInvalid: TypeAlias = Callable[[Coordinates, InvalidRecordError], None]
"""Told of a record in a predictions topic that is no prediction."""


OnLink: TypeAlias = Callable[[Link], None]
"""Told when the cluster goes away, and when it is back."""

SUFFIX: Final = ".predictions"


def predictions_topic(deployment: str) -> str:
    """The topic of a deployment's predictions, where its document names no other."""
    return deployment if deployment.endswith((SUFFIX, ".shadows")) else f"{deployment}{SUFFIX}"


def read_predictions(
    kafka: KafkaSettings,
    topic: str,
    *,
    start: Start = Position.LATEST,
    until: Until = Until.STOPPED,
    on_invalid: OnInvalid | None = None,
    on_link: OnLink | None = None,
) -> Iterator[Sequence[Prediction]]:
    """Committed predictions as they come, in the order of each partition; an empty sequence when none came for 0.2 s.

    Args:
        kafka: The cluster.
        topic: The predictions topic.
        start: Where to begin.
        until: Where to stop.
        on_invalid: Told of records that are no predictions, which are then passed over; they are raised where absent.
        on_link: Told when the cluster goes away, and when it is back; meanwhile nothing comes, and nothing is lost.

    Raises:
        RequestError: There is no such topic.
        InvalidRecordError: A record is no prediction, and nobody is to be told.
        TransientError: No broker answers.
        FatalError: The broker refuses this client.
    """
    with _open(kafka, topic, start, until) as reader:
        link = reader.link
        while not reader.finished:
            batch = reader.read()
            if on_link is not None and reader.link is not link:
                on_link(reader.link)
            link = reader.link
            yield parse_predictions(batch, on_invalid)


def _open(kafka: KafkaSettings, topic: str, start: Start, until: Until) -> Reader:
    try:
        return Reader(kafka, topic, start=start, until=until)
    except RequestError as error:
        known = sorted(name for name in Admin(kafka).topic_names() if name.endswith(SUFFIX))
        found = f"topics of predictions are {', '.join(known)}" if known else "no deployment has written any yet"
        raise RequestError(error.message, remedy=found) from error


def parse_predictions(batch: RecordBatch, on_invalid: OnInvalid | None = None) -> list[Prediction]:
    """The predictions of a batch of a predictions topic; see `read_predictions` for what is none."""
    found: list[Prediction] = []
    for row in range(len(batch)):
        try:
            found.append(parse_prediction(batch, row))
        except InvalidRecordError as error:
            if on_invalid is None:
                raise
            on_invalid(batch.coordinates(row), error)
    return found


def parse_prediction(batch: RecordBatch, row: int) -> Prediction:
    """The prediction in row `row`.

    Raises:
        InvalidRecordError: It is none.
    """
    document = read_prediction(batch.values[row])
    outputs, source = document["outputs"], document["source"]
    return Prediction(
        at=batch.coordinates(row),
        key=batch.keys[row],
        event_id=document["event_id"],
        source=Coordinates(source["topic"], source["partition"], source["offset"], source.get("row", 0)),
        deployment=document["deployment"],
        model=document["model"],
        version=document["version"],
        digest=document["digest"],
        transform=document["transform"],
        label=outputs.get("label"),
        scores=outputs.get("scores", {}),
        value=outputs.get("value"),
        bins=document["bins"],
        event_time_ms=document["event_time"],
        scored_at_ms=document["scored_at"],
        degraded=document.get("degraded", False),
        enriched=document.get("enriched", {}),
    )


def _place(source: Coordinates) -> dict[str, Any]:
    row = {"row": source.row} if source.row else {}
    return {"topic": source.topic, "partition": source.partition, "offset": source.offset, **row}
