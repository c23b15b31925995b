"""Features that came from the online store, as predictions tell them: what a scorer saw, and not what is there now.

The online store has moved on since, and its topics are compacted. A model that learned from newer values than it will
be given would know the future; so what was fetched for a record is read from the record's prediction.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from millrace.core.columns import Decoded
from millrace.core.errors import InvalidRecordError, Reason
from millrace.core.records import RecordBatch
from millrace.core.signature import DType, Feature, Signature
from millrace.kafka.ranges import read_range
from millrace.process.retraining import OffsetRange
from millrace.process.settings import KafkaSettings
from millrace.serving.enriching import Column, Enriched, key_fields_of

_ROW_BITS: Final = 17
"""A record has at most 65,536 rows."""


class _Source(msgspec.Struct):
    topic: str
    partition: int
    offset: int
    row: int = 0


class _Told(msgspec.Struct):
    """What is read of a prediction."""

    source: _Source
    enriched: dict[str, Any] = {}


_DECODER: Final = msgspec.json.Decoder(_Told)


@dataclass(frozen=True, slots=True)
class _Values:
    """What the predictions of one partition's records tell.

    Attributes:
        places: Offset and row of each record in one number, ascending; of equal ones the last counts.
        columns: By feature.
    """

    places: NDArray[np.int64]
    columns: Mapping[str, Column]


class LoggedFeatures:
    """Values from the predictions of a topic's records. See `millrace.serving.enriching.Enricher`. For one thread.

    The values of one partition are in memory at a time.

    Args:
        kafka: The cluster.
        signature: The model's.
        names: Features that come from the online store.
        key_fields: Fields by which they were looked up.
        source: The topic of features.
        ranges: The predictions of its records.
        keep_alive: Called between batches.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        signature: Signature,
        names: Collection[str],
        key_fields: Collection[str],
        *,
        source: str,
        ranges: Sequence[OffsetRange],
        keep_alive: Callable[[], None],
    ) -> None:
        self._kafka: Final = kafka
        self._signature: Final = signature
        self._features: Final = [feature for feature in signature.features if feature.name in names]
        self._key_fields: Final = key_fields
        self._source: Final = source
        self._ranges: Final = {each.partition: each for each in ranges}
        self._keep_alive: Final = keep_alive
        self._read: tuple[int, _Values] | None = None

    @property
    def features(self) -> Sequence[str]:
        """The features of the model that come from the online store."""
        return tuple(feature.name for feature in self._features)

    @property
    def key_features(self) -> Sequence[Feature]:
        """The key fields where records are not read without them."""
        return key_fields_of(self._signature, self.features, self._key_fields)

    def enrich(self, records: RecordBatch, decoded: Decoded) -> Enriched:
        """What the rows' predictions tell; a row without a prediction, or whose prediction tells nothing, is refused.

        Args:
            records: Records of one partition.
            decoded: Their rows.

        Raises:
            RequestError: The log no longer holds the predictions.
            TransientError: The broker is away.
        """
        wanted = (records.offsets[decoded.source] << _ROW_BITS) | decoded.rows
        values = self._of_partition(int(records.partitions[0])) if len(records) else _NONE
        at = np.searchsorted(values.places, wanted, side="right") - 1
        is_told = (at >= 0) & (values.places[at] == wanted) if len(values.places) else np.zeros(len(wanted), np.bool_)
        columns = {feature.name: np.zeros(len(wanted), feature.dtype.numpy) for feature in self._features}
        for name, column in columns.items():
            if is_told.any():
                column[is_told] = values.columns[name][at[is_told]]
        refused = {
            row: InvalidRecordError(Reason.UNENRICHED, "no prediction tells what was fetched for it")
            for row in np.flatnonzero(~is_told).tolist()
        }
        return Enriched(columns, refused)

    def _of_partition(self, partition: int) -> _Values:
        if self._read is None or self._read[0] != partition:
            self._read = partition, self._gather(partition)
        return self._read[1]

    def _gather(self, partition: int) -> _Values:
        """Read the predictions of a partition's records."""
        names = frozenset(self.features)
        told: list[_Told] = []
        if (of := self._ranges.get(partition)) is not None:
            for batch in read_range(self._kafka, of.topic, of.partition, of.first_offset, of.next_offset):
                self._keep_alive()
                found = filter(None, map(_read, batch.values))
                told += [each for each in found if each.source.topic == self._source and names <= each.enriched.keys()]
        told.sort(key=_place)  # which keeps the order of the log among equals
        places = np.fromiter(map(_place, told), np.int64, len(told))
        values = list(map(attrgetter("enriched"), told))
        return _Values(places, {feature.name: _column(feature, values) for feature in self._features})


_NONE: Final = _Values(np.empty(0, np.int64), {})


def _read(value: bytes | None) -> _Told | None:
    """What a prediction tells; None for what is none, which is not the trainer's to judge."""
    try:
        return _DECODER.decode(value or b"")
    except msgspec.DecodeError:
        return None


def _place(told: _Told) -> int:
    return (told.source.offset << _ROW_BITS) | told.source.row


def _column(feature: Feature, values: Sequence[Mapping[str, Any]]) -> Column:
    """One feature's values, with the bits that the model had: null is not a number."""
    column = [each[feature.name] for each in values]
    if feature.dtype is DType.STRING:
        made = np.empty(len(column), np.object_)
        made[:] = column
        return made
    return np.array([np.nan if value is None else value for value in column], feature.dtype.numpy)
