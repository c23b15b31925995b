"""Where a prediction comes from: record, transform, model, training data, and the process that made it."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from millrace.client.deployments import the_deployment
from millrace.client.explaining import find_prediction, source_of
from millrace.client.predictions import SUFFIX, Prediction, parse_prediction
from millrace.core.errors import MillraceError, RequestError
from millrace.core.records import Coordinates
from millrace.kafka.admin import Admin
from millrace.kafka.control_writer import MODELS_TOPIC
from millrace.kafka.history import HISTORY_TOPIC, HistoryEntry, read_history
from millrace.kafka.reading import Reader, find
from millrace.process.deployment import Deployment
from millrace.process.settings import KafkaSettings
from millrace.serving.manifest import Manifest
from millrace.serving.shelf import Shelf


@dataclass(frozen=True, slots=True)
class ScoredBy:
    """The process that scored.

    Attributes:
        node: The node that ran it.
        slot: Its place, such as `rain/scorer/0`.
        launch: Which process of the slot.
        environment: Fingerprint of what was installed on the node.
    """

    node: str
    slot: str
    launch: int
    environment: str


@dataclass(frozen=True, slots=True)
class Deed:
    """What somebody did, as the history has it.

    Attributes:
        who: User, key, service or process.
        what: The action.
        at_ms: When, milliseconds since 1970.
        change_id: Names the record in the history.
    """

    who: str
    what: str
    at_ms: int
    change_id: str


@dataclass(frozen=True, slots=True)
class Lineage:
    """Everything that a prediction rests on.

    Attributes:
        prediction: The prediction; it names its record, its model's digest and its transform.
        manifest: What the model's bundle says: what it learned from, and with what; None where its files are gone.
        pushed: Who brought the version in; None where the history does not say.
        promoted: Who let it answer; None where the history does not say.
        scored_by: The process that scored; None for one that no launcher started, and for online answers.
        remarks: What could not be found, and why, a line each.
    """

    prediction: Prediction
    manifest: Manifest | None
    pushed: Deed | None
    promoted: Deed | None
    scored_by: ScoredBy | None
    remarks: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """The lineage as JSON values."""
        found, manifest = self.prediction, self.manifest
        training = manifest.training if manifest else None
        return {
            "prediction": str(found.at),
            "event_id": found.event_id,
            "source": str(found.source),
            "deployment": found.deployment,
            "transform": found.transform,
            "model": found.model,
            "version": found.version,
            "digest": found.digest,
            "trained_on": training.model_dump(mode="json") if training else None,
            "reference": manifest.profile if manifest else None,
            "made_with": manifest.environment.model_dump(mode="json") if manifest else None,
            "pushed": asdict(self.pushed) if self.pushed else None,
            "promoted": asdict(self.promoted) if self.promoted else None,
            "scored_by": asdict(self.scored_by) if self.scored_by else None,
            "scored_at_ms": found.scored_at_ms,
            "remarks": list(self.remarks),
        }


def trace(kafka: KafkaSettings, shelf: Shelf, coordinates: Coordinates, deployment: str | None = None) -> Lineage:
    """Find everything that a prediction rests on. What cannot be found is said in a remark.

    Blocks while it reads the history, and the predictions that are as young as the record or younger.

    Args:
        kafka: The cluster.
        shelf: Where model files are.
        coordinates: Where the prediction lies, or the record that it is about.
        deployment: Whose prediction, where a record is named; None where it can be guessed.

    Raises:
        RequestError: There is no such record, or it has no prediction.
        TransientError: No broker answers.
        FatalError: The broker refuses this client.
    """
    prediction = _prediction(kafka, coordinates, deployment)
    topics = Admin(kafka).topic_names()
    remarks = []
    try:
        manifest = shelf.take(prediction.digest).manifest
    except MillraceError as error:
        manifest = None
        remarks.append(f"what the model learned from is not known here: {error}")
    entries = _deeds_on(kafka, prediction.model) if HISTORY_TOPIC in topics else []
    known = the_deployment(kafka, prediction.deployment, prediction.source)
    scored_by = _worker(kafka, known, prediction.source) if known.handovers_topic in topics else None
    if scored_by is None:
        remarks.append("the process is not known: it was not started by a launcher, or answered online")
    elif known.delivery == "shared":
        remarks.append("in shared delivery several processes read a partition at a time: this is one of them")
    version = prediction.version
    return Lineage(
        prediction=prediction,
        manifest=manifest,
        pushed=_last(entry for entry in entries if f"{prediction.model}/{version}" in _written(entry)),
        promoted=_last(
            e for e in entries if e.at_ms <= prediction.scored_at_ms and _names(e, prediction.model, version)
        ),
        scored_by=scored_by,
        remarks=tuple(remarks),
    )


def _prediction(kafka: KafkaSettings, coordinates: Coordinates, deployment: str | None) -> Prediction:
    if coordinates.topic.endswith(SUFFIX):
        source_of(kafka, coordinates)  # Says what is wrong where there is no prediction.
        return parse_prediction(find(kafka, coordinates), 0)
    record = find(kafka, coordinates)
    known = the_deployment(kafka, deployment, coordinates)
    found = find_prediction(kafka, known.predictions_topic, coordinates, int(record.timestamps_ms[0]))
    if found is None:
        raise RequestError(f"{coordinates} has no prediction of {known.deployment}", remedy="see `millrace explain`")
    return found


def _worker(kafka: KafkaSettings, deployment: Deployment, source: Coordinates) -> ScoredBy | None:
    """Who answered the partition of a record at its offset, as the last handover before it says."""
    found: dict[str, Any] = {}
    with Reader(kafka, deployment.handovers_topic, partitions=(source.partition,)) as reader:
        for batch in reader:
            documents = (orjson.loads(value) for value in batch.values if value is not None)
            for document in documents:
                if document["topic"] == source.topic and document["first_offset"] <= source.offset:
                    found = document
    by = found.get("by")
    return None if by is None else ScoredBy(by["node"], by["slot"], by["launch"], by["environment"])


def _deeds_on(kafka: KafkaSettings, model: str) -> list[HistoryEntry]:
    return [record.entry for record in read_history(kafka, subject=f"model/{model}")]


def _written(entry: HistoryEntry) -> dict[str, Any]:
    return dict(entry.after.get(MODELS_TOPIC, {}))


def _names(entry: HistoryEntry, model: str, version: int) -> bool:
    """Whether the entry let an alias of the model name the version."""
    aliases = (value for key, value in _written(entry).items() if key.startswith(f"{model}@"))
    return any(value is not None and value["version"] == version for value in aliases)


def _last(entries: Iterable[HistoryEntry]) -> Deed | None:
    found = None
    for entry in entries:
        found = Deed(entry.who, entry.what, entry.at_ms, entry.change_id)
    return found
