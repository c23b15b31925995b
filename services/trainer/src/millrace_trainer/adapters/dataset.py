"""Records and labels of exact ranges as Parquet files with a fingerprint. Features never are in memory as a whole."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from millrace.core.columns import Decoded, Decoder, FeatureColumns
from millrace.core.errors import RequestError
from millrace.core.records import Coordinates, RecordBatch
from millrace.core.signature import Signature, Task
from millrace.kafka.ranges import read_range
from millrace.process.retraining import Accepted, Dataset, OffsetRange
from millrace.process.settings import KafkaSettings
from millrace.serving.rows import columns_from_values
from millrace.serving.training import EVENT_ID, EVENT_TIME, LABEL
from millrace_trainer.logic.fingerprint import Fingerprint
from millrace_trainer.logic.labels import LabelBook, Truth
from millrace_trainer.logic.window import WindowPolicy, split_time


@dataclass(frozen=True, slots=True)
class Materialised:
    """Rows on disk: what to learn from, and later rows to be measured on.

    Attributes:
        train: Parquet file of the earlier rows.
        holdout: Parquet file of the later rows.
        facts: What the files hold.
    """

    train: Path
    holdout: Path
    facts: Dataset


@dataclass(frozen=True, slots=True)
class Materialiser:
    """Reads the ranges of a request. May be used again.

    Attributes:
        kafka: The cluster.
        decoder: Reads feature records, as the scorer does.
        signature: What the decoder makes of them.
        window: How rows are divided.
        label_events: Most events whose labels are held in memory.
        keep_alive: Called between batches.
    """

    kafka: KafkaSettings
    decoder: Decoder
    signature: Signature
    window: WindowPolicy
    label_events: int
    keep_alive: Callable[[], None]

    def materialise(self, accepted: Accepted, folder: Path) -> Materialised:
        """Write the rows of the accepted ranges into files of a folder.

        Raises:
            RequestError: The log no longer holds a range, a label is not of the task, or there are too few rows.
            TransientError: The broker or a schema registry cannot be reached.
            FatalError: The broker refuses this client.
        """
        whole, train, holdout = (folder / f"{name}.parquet" for name in ("rows", "train", "holdout"))
        gathered = self._gather(accepted, whole)
        cut = split_time(np.concatenate(gathered.times_ms), self.window)
        early, late = _split(whole, cut, train, holdout)
        whole.unlink()
        if self.signature.task is not Task.REGRESSION:
            _require_classes(train)
        facts = Dataset(
            fingerprint=gathered.fingerprint.digest(),
            rows=early + late,
            train=early,
            holdout=late,
            unlabelled=gathered.unlabelled,
            invalid=gathered.invalid,
        )
        return Materialised(train, holdout, facts)

    def _gather(self, accepted: Accepted, target: Path) -> "_Gathered":
        """Write every labelled row of the ranges into one file, in the order of the log."""
        book = LabelBook(self.label_events)
        for batch in self._records(accepted.labels):
            book.add(batch.values)
        columns = (EVENT_ID, EVENT_TIME, LABEL, *(feature.name for feature in self.signature.features))
        gathered = _Gathered(Fingerprint(accepted.ranges, columns), invalid=book.invalid)
        with ExitStack() as stack:
            writer: pq.ParquetWriter | None = None
            for batch in self._records(accepted.features):
                decoded = self.decoder.decode(batch)
                table = self._labelled(batch, decoded, book)
                gathered.add(table, decoded)
                writer = writer or stack.enter_context(pq.ParquetWriter(target, table.schema))
                writer.write_table(table)
        if not any(map(len, gathered.times_ms)):
            raise RequestError(
                f"none of {gathered.unlabelled} records has a label",
                remedy="check that labels name the records' event ids",
            )
        return gathered

    def _records(self, ranges: tuple[OffsetRange, ...]) -> Iterator[RecordBatch]:
        for each in ranges:
            for batch in read_range(self.kafka, each.topic, each.partition, each.first_offset, each.next_offset):
                self.keep_alive()
                yield batch

    def _labelled(self, records: RecordBatch, decoded: Decoded, book: LabelBook) -> pa.Table:
        """The rows that have a label, as a table."""
        ids = event_ids(records, decoded)
        truths = book.look_up(ids)
        known = np.array([row for row, truth in enumerate(truths) if truth is not None], np.intp)
        columns = {
            EVENT_ID: pa.array([ids[row] for row in known], pa.string()),
            EVENT_TIME: pa.array(records.timestamps_ms[decoded.source][known]),
            LABEL: _labels([truths[row] for row in known], self.signature.task),
        }
        return pa.table({**columns, **feature_arrays(decoded.columns.take(known))})


@dataclass(slots=True)
class _Gathered:
    """What is known of the rows that were written."""

    fingerprint: Fingerprint
    times_ms: list[NDArray[np.int64]] = field(default_factory=list)
    unlabelled: int = 0
    invalid: int = 0

    def add(self, table: pa.Table, decoded: Decoded) -> None:
        """Take the labelled rows of a batch in."""
        self.invalid += len(decoded.rejections)
        self.unlabelled += len(decoded.source) - len(table)
        self.times_ms.append(table[EVENT_TIME].to_numpy())
        for name in table.column_names:
            self.fingerprint.add(name, _hashable(table[name]))


def event_ids(records: RecordBatch, decoded: Decoded) -> list[str]:
    """Each row's own id, or else its coordinates."""
    places = map(
        Coordinates,
        repeat(records.topic),
        records.partitions[decoded.source].tolist(),
        records.offsets[decoded.source].tolist(),
        decoded.rows.tolist(),
    )
    named = decoded.event_ids or repeat(None)
    return [own or str(place) for own, place in zip(named, places, strict=False)]


def feature_arrays(columns: FeatureColumns) -> dict[str, pa.Array]:
    """The features as columns of a table, from which `feature_values` reads them."""
    return {feature.name: _to_arrow(columns.column(feature.name)) for feature in columns.signature.features}


def feature_values(table: pa.Table, signature: Signature) -> dict[str, NDArray[np.generic]]:
    """The feature columns of a table that a `Materialiser` of this signature wrote, as NumPy arrays."""
    values = {}
    for feature in signature.features:
        column = table[feature.name].combine_chunks()
        if feature.shape:
            values[feature.name] = column.flatten().to_numpy().reshape(len(table), *feature.shape)
        else:
            values[feature.name] = column.to_numpy(zero_copy_only=False)
    return values


def table_columns(table: pa.Table, given: Signature, wanted: Signature) -> FeatureColumns:
    """The rows of a table as another model wants them.

    Raises:
        RequestError: The model wants a feature that the records do not have.
    """
    return columns_from_values(wanted, feature_values(table, given))


def _labels(truths: list[Truth | None], task: Task) -> pa.Array:
    if task is not Task.REGRESSION:
        return pa.array([str(truth) for truth in truths], pa.string())
    try:
        return pa.array([float(truth) for truth in truths if truth is not None], pa.float64())
    except ValueError as error:
        raise RequestError(f"a label of a regression is no number: {error}", remedy="correct the label") from None


def _to_arrow(values: NDArray[np.generic]) -> pa.Array:
    if values.dtype == object:
        return pa.array(values.tolist(), pa.string())
    if values.ndim == 1:
        return pa.array(np.ascontiguousarray(values))
    size = int(np.prod(values.shape[1:]))
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values).reshape(-1)), size)


def _hashable(column: pa.ChunkedArray) -> NDArray[np.generic] | list[str]:
    whole = column.combine_chunks()
    if pa.types.is_string(whole.type):
        texts: list[str] = whole.to_pylist()
        return texts
    flat = whole.flatten() if pa.types.is_fixed_size_list(whole.type) else whole
    array: NDArray[np.generic] = flat.to_numpy(zero_copy_only=False)
    return array


def _require_classes(train: Path) -> None:
    classes = pc.unique(pq.read_table(train, columns=[LABEL])[LABEL]).to_pylist()
    if len(classes) < 2:
        raise RequestError(
            f"all records to learn from have the label {classes[0]!r}",
            remedy="train on a longer history: data.since, data.history_secs",
        )


def _split(whole: Path, cut: int, train: Path, holdout: Path) -> tuple[int, int]:
    """Copy rows before and from an event time into two files, a row group at a time; how many there are of each."""
    counts = [0, 0]
    with pq.ParquetFile(whole) as source, ExitStack() as stack:
        writers = [stack.enter_context(pq.ParquetWriter(path, source.schema_arrow)) for path in (train, holdout)]
        for group in range(source.num_row_groups):
            table = source.read_row_group(group)
            is_late = pc.greater_equal(table[EVENT_TIME], cut)
            for number, mask in enumerate((pc.invert(is_late), is_late)):
                part = table.filter(mask)
                counts[number] += len(part)
                writers[number].write_table(part)
    return counts[0], counts[1]
