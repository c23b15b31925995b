"""Shadow records as pairs of answers: decoded in C, many at a time."""

from itertools import compress, repeat
from operator import attrgetter, eq
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from millrace.codec.audit_records import ReadLabels, ReadPredictions, RecordColumns, VersionBlock
from millrace.codec.shadows import read_shadow
from millrace.core.audit.columns import Predictions
from millrace.core.errors import InvalidRecordError
from millrace.core.records import RecordBatch
from millrace.core.rollout import RolloutMode
from millrace.core.signature import Task
from millrace.serving.audited import Versions


class _Outputs(msgspec.Struct, gc=False):
    label: str | None = None
    value: float | None = None


class _Beside(msgspec.Struct, gc=False):
    version: int
    outputs: _Outputs


class _Shadow(msgspec.Struct, gc=False):
    event_id: str
    model: str
    version: int
    outputs: _Outputs
    event_time: int
    rollout: RolloutMode
    beside: _Beside


_SHADOWS: Final = msgspec.json.Decoder(_Shadow)


class PairColumns:
    """Makes columns of pairs for one deployment. See `millrace_auditor.logic.ports.Columns`."""

    def __init__(self, versions: Versions) -> None:
        self._versions = versions
        self._class_of: Final = {name: index for index, name in enumerate(versions.classes)}
        self._labels: Final = RecordColumns(versions)

    def predictions(self, records: RecordBatch) -> ReadPredictions:
        """The pairs of a batch of one partition, by challenger; the champion takes the place of the segment."""
        documents, kept, unreadable = self._read(records)
        ours = list(map(eq, map(attrgetter("model"), documents), repeat(self._versions.model)))
        others = len(documents) - sum(ours)
        documents, kept = list(compress(documents, ours)), kept[np.array(ours, np.bool_)]
        is_canary = _column(map(eq, map(attrgetter("rollout"), documents), repeat(RolloutMode.CANARY)), bool, documents)
        silent = _column(map(attrgetter("version"), documents), np.int64, documents)
        answering = _column(map(attrgetter("beside.version"), documents), np.int64, documents)
        said = np.stack((self._answers(documents, "outputs"), self._answers(documents, "beside.outputs")), axis=1)
        # A shadow is silent about the challenger's answers, a canary about the champion's.
        said[~is_canary] = said[~is_canary][:, ::-1]
        champions, challengers = np.where(is_canary, silent, answering), np.where(is_canary, answering, silent)
        ids = list(map(str.encode, map(attrgetter("event_id"), documents)))
        times = _column(map(attrgetter("event_time"), documents), np.int64, documents)
        blocks = {}
        for version in np.unique(challengers).tolist():
            rows = challengers == version
            columns = Predictions(
                list(compress(ids, rows.tolist())),
                times[rows],
                challengers[rows],
                champions[rows],
                np.zeros(int(rows.sum()), np.int64),
                said[rows],
            )
            blocks[version] = VersionBlock(columns, records.offsets[kept[rows]], np.empty((0, 0), np.uint8))
        return ReadPredictions(blocks, unreadable, others)

    def labels(self, records: RecordBatch) -> ReadLabels:
        """The labels of a batch of one partition."""
        return self._labels.labels(records)

    def _answers(self, documents: list[_Shadow], which: str) -> NDArray[np.float64]:
        """What a version said: the number of the class, or the value."""
        if self._versions.task is Task.REGRESSION:
            return _column(map(attrgetter(f"{which}.value"), documents), np.float64, documents)
        names = map(attrgetter(f"{which}.label"), documents)
        return _column(map(self._class_of.__getitem__, names), np.float64, documents)

    def _read(self, records: RecordBatch) -> tuple[list[_Shadow], NDArray[np.intp], list[int]]:
        """Documents, their rows, and the rows that are none."""
        try:
            documents = list(map(_SHADOWS.decode, records.values))  # type: ignore[arg-type]
        except (msgspec.MsgspecError, TypeError, UnicodeDecodeError):
            return self._read_each(records)
        return documents, np.arange(len(records)), []

    def _read_each(self, records: RecordBatch) -> tuple[list[_Shadow], NDArray[np.intp], list[int]]:
        documents, kept, unreadable = [], [], []
        for row, value in enumerate(records.values):
            try:
                documents.append(msgspec.convert(read_shadow(value), _Shadow))
                kept.append(row)
            except (InvalidRecordError, msgspec.ValidationError):
                unreadable.append(row)
        return documents, np.array(kept, np.intp), unreadable


def _column(values: Any, dtype: Any, documents: list[_Shadow]) -> NDArray[Any]:  # noqa: ANN401 - numpy's own freedom
    return np.fromiter(values, dtype, len(documents))
