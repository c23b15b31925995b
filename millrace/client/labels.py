"""Labels: what the world says about an event, sent for the auditor to join with what was predicted."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any, Final, TypeAlias

import numpy as np
import orjson

from millrace.core.errors import RequestError
from millrace.core.records import Coordinates, OutputBatch
from millrace.kafka.writing import BY_KEY, Writer, at_writing
from millrace.process.settings import KafkaSettings

_CHUNK: Final = 2_000

Truth: TypeAlias = str | int | float | bool


class LabelOperation(StrEnum):
    """What a label does to earlier ones of its event."""

    UPSERT = "upsert"
    """It is the truth now."""
    RETRACT = "retract"
    """The truth is not known after all."""


@dataclass(frozen=True, slots=True)
class Label:
    """The truth about one event.

    Attributes:
        event_id: The event: its record's own id, or else its coordinates.
        label: The truth: a class, or a value; None only to retract.
        label_time_ms: When the truth was known, milliseconds since 1970.
        revision: A higher one replaces a lower one.
        operation: What it does to earlier ones.
        key: The key of the event's record, so that both lie in partitions of one number.
        source: Where the event's record lies, which decides the partition without a key.
        weight: How much it counts.
    """

    event_id: str
    label: Truth | None
    label_time_ms: int
    revision: int = 0
    operation: LabelOperation = LabelOperation.UPSERT
    key: bytes | None = None
    source: Coordinates | None = None
    weight: float | None = None

    def __post_init__(self) -> None:
        if self.label is None and self.operation is LabelOperation.UPSERT:
            raise RequestError(f"the label of event {self.event_id!r} says nothing", remedy="give a label, or retract")

    def document(self) -> dict[str, Any]:
        """The label as JSON values, as its topic has it; what has its default is left out."""
        source = self.source
        return {
            "event_id": self.event_id,
            **({} if self.label is None else {"label": self.label}),
            "label_time": self.label_time_ms,
            **({"revision": self.revision} if self.revision else {}),
            **({"op": self.operation.value} if self.operation is not LabelOperation.UPSERT else {}),
            **({} if source is None else {"source": str(source)}),
            **({} if self.weight is None else {"weight": self.weight}),
        }


def send_labels(kafka: KafkaSettings, stream: str, labels: Iterable[Label]) -> int:
    """Write labels to `<stream>.labels`, each to the partition number of its event; how many were written.

    The partition is that of `source`, else the key's, else the one that the coordinates in `event_id` name.

    Raises:
        RequestError: There is no such topic, or nothing tells the partition of a label.
        TransientError: The broker is away; what was sent before stays sent.
        FatalError: The broker refuses this client.
    """
    topic, count = f"{stream}.labels", 0
    with Writer(kafka) as writer:
        partitions = writer.partitions(topic)
        remaining = iter(labels)
        while chunk := list(islice(remaining, _CHUNK)):
            writer.write(to_records(topic, chunk, partitions))
            count += len(chunk)
    return count


def to_records(topic: str, labels: Sequence[Label], partitions: int) -> OutputBatch:
    """The records of labels, for a topic of so many partitions; raises as `send_labels`."""
    numbers = np.array([_partition(label, partitions) for label in labels], np.int32)
    values = [orjson.dumps(label.document()) for label in labels]
    return OutputBatch(topic, numbers, at_writing(len(labels)), [label.key for label in labels], values)


def _partition(label: Label, partitions: int) -> int:
    if label.source is None and label.key is not None:
        return BY_KEY
    try:
        source = label.source or Coordinates.parse(label.event_id)
    except RequestError:
        raise RequestError(
            f"nothing tells the partition of the label for event {label.event_id!r}",
            remedy="give the label the key of its event's record, or its source coordinates",
        ) from None
    if source.partition >= partitions:
        raise RequestError(
            f"the event {source} lies in a partition that the labels topic does not have",
            remedy=f"give the labels topic as many partitions as {source.topic} has",
        )
    return source.partition
