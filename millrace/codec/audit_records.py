"""Records of predictions and labels as the audit's columns: decoded in C, many at a time.

A record that is read differently from the rest (Avro, or not at all) costs a step of its own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress, repeat
from operator import attrgetter, eq, is_, itemgetter
from typing import Annotated, Any, Final, Literal, Protocol, TypeVar

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from millrace.codec.reading import read_label, read_prediction
from millrace.core.audit.columns import Labels, Predictions
from millrace.core.audit.layout import Layout
from millrace.core.audit.pane import read_digits
from millrace.core.audit.segments import NO_SEGMENT, Segments
from millrace.core.errors import InvalidRecordError
from millrace.core.records import RecordBatch
from millrace.core.signature import Task

_EventId = Annotated[str, Meta(min_length=1)]
_Time = Annotated[int, Meta(ge=0, le=2**52)]
_Number = Annotated[int, Meta(ge=0, lt=2**31)]
_Truth = str | int | float | bool | None


class _Outputs(msgspec.Struct, gc=False):
    label: str | None = None
    scores: dict[str, float] | None = None
    value: float | None = None


class _Prediction(msgspec.Struct, gc=False):
    event_id: _EventId
    model: str
    version: _Number
    outputs: _Outputs
    bins: str
    event_time: _Time


class _Label(msgspec.Struct, gc=False):
    event_id: _EventId
    label_time: _Time
    label: _Truth = None
    revision: _Number = 0
    op: Literal["upsert", "retract"] = "upsert"
    weight: Annotated[float, Meta(gt=0)] = 1.0


_Row = TypeVar("_Row", _Prediction, _Label)

_PREDICTIONS: Final = msgspec.json.Decoder(_Prediction)
_LABELS: Final = msgspec.json.Decoder(_Label)


@dataclass(frozen=True, slots=True)
class VersionBlock:
    """Predictions of one partition and one version.

    Attributes:
        columns: The predictions.
        offsets: Their offsets.
        digits: Their cells, as `read_digits` gives them.
    """

    columns: Predictions
    offsets: NDArray[np.int64]
    digits: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class ReadPredictions:
    """Predictions of one partition.

    Attributes:
        blocks: The predictions that the audit is about, by version.
        unreadable: Rows of records that are no predictions.
        others: How many predictions other models made.
    """

    blocks: Mapping[int, VersionBlock]
    unreadable: Sequence[int] = ()
    others: int = 0


@dataclass(frozen=True, slots=True)
class ReadLabels:
    """Labels of one partition as columns, their offsets, and the rows that are no labels."""

    columns: Labels
    offsets: NDArray[np.int64]
    unreadable: Sequence[int] = ()


class Audited(Protocol):
    """What must be known of the audited model to read its predictions."""

    @property
    def model(self) -> str:
        """Its name."""
        ...

    @property
    def task(self) -> Task:
        """What its outputs mean."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of its classes; none for regression."""
        ...

    def layout(self, version: int) -> Layout:
        """What to count for a version."""
        ...

    def segments(self, version: int) -> Segments | None:
        """How the events of a version are divided; None where they are not."""
        ...


class RecordColumns:
    """Makes columns for one deployment."""

    def __init__(self, versions: Audited) -> None:
        self._versions = versions
        self._class_of: Final = {name: index for index, name in enumerate(versions.classes)}
        self._truth_of: Final = truths(versions.classes)

    def predictions(self, records: RecordBatch) -> ReadPredictions:
        """The predictions of a batch of one partition, by version."""
        documents, kept, unreadable = _decoded(records.values, _PREDICTIONS, _explained_prediction)
        ours = _column(map(eq, map(attrgetter("model"), documents), repeat(self._versions.model)), np.bool_, documents)
        others = int((~ours).sum())
        if others:
            documents, kept = list(compress(documents, ours.tolist())), kept[ours]
        try:
            blocks = self._blocks(documents, records.offsets[kept])
        except (KeyError, TypeError):  # an output is not the model's: look at each
            fits = np.array([self._fits(document) for document in documents], np.bool_)
            unreadable += kept[~fits].tolist()
            blocks = self._blocks(list(compress(documents, fits.tolist())), records.offsets[kept[fits]])
        return ReadPredictions(blocks, sorted(unreadable), others)

    def labels(self, records: RecordBatch) -> ReadLabels:
        """The labels of a batch of one partition."""
        documents, kept, unreadable = _decoded(records.values, _LABELS, _explained_label)
        truths_said = list(map(attrgetter("label"), documents))
        retracted = _column(map(eq, map(attrgetter("op"), documents), repeat("retract")), np.bool_, documents)
        silent = _column(map(is_, truths_said, repeat(None)), np.bool_, documents) & ~retracted
        if silent.any():
            unreadable += kept[silent].tolist()
            documents, kept, retracted = (
                list(compress(documents, (~silent).tolist())),
                kept[~silent],
                retracted[~silent],
            )
            truths_said = list(compress(truths_said, (~silent).tolist()))
        columns = Labels(
            list(map(str.encode, map(attrgetter("event_id"), documents))),
            self._truths(truths_said),
            _column(map(attrgetter("label_time"), documents), np.int64, documents),
            _column(map(attrgetter("revision"), documents), np.int64, documents),
            retracted,
            _column(map(attrgetter("weight"), documents), np.float64, documents),
        )
        return ReadLabels(columns, records.offsets[kept], sorted(unreadable))

    def _blocks(self, documents: list[_Prediction], offsets: NDArray[np.int64]) -> dict[int, VersionBlock]:
        numbers = _column(map(attrgetter("version"), documents), np.int64, documents)
        blocks = {}
        for version in np.unique(numbers).tolist():
            rows = numbers == version
            blocks[version] = self._block(version, list(compress(documents, rows.tolist())), offsets[rows])
        return blocks

    def _block(self, version: int, documents: list[_Prediction], offsets: NDArray[np.int64]) -> VersionBlock:
        layout, segments = self._versions.layout(version), self._versions.segments(version)
        count = len(documents)
        digits = read_digits(list(map(str.encode, map(attrgetter("bins"), documents))), len(layout.cells))
        columns = Predictions(
            list(map(str.encode, map(attrgetter("event_id"), documents))),
            _column(map(attrgetter("event_time"), documents), np.int64, documents),
            np.full(count, version, np.int64),
            np.full(count, NO_SEGMENT, np.int64) if segments is None else segments.assign(digits),
            self._predicted(documents),
            self._scores(layout, documents),
        )
        return VersionBlock(columns, offsets, digits)

    def _fits(self, document: _Prediction) -> bool:
        outputs = document.outputs
        if self._versions.task is Task.REGRESSION:
            return outputs.value is not None
        return outputs.label in self._class_of and (outputs.scores or {}).keys() >= self._class_of.keys()

    def _predicted(self, documents: list[_Prediction]) -> NDArray[np.int64]:
        if self._versions.task is Task.REGRESSION:
            return np.zeros(len(documents), np.int64)
        labels = map(attrgetter("outputs.label"), documents)
        return _column(map(self._class_of.__getitem__, labels), np.int64, documents)

    def _scores(self, layout: Layout, documents: list[_Prediction]) -> NDArray[np.float64]:
        if layout.task is Task.REGRESSION:
            return _column(map(attrgetter("outputs.value"), documents), np.float64, documents)[:, None]
        names = layout.classes if layout.task is Task.MULTICLASS else layout.classes[1:]
        answers = list(map(attrgetter("outputs.scores"), documents))
        return np.stack([_column(map(itemgetter(name), answers), np.float64, documents) for name in names], axis=1)

    def _truths(self, said: list[_Truth]) -> NDArray[np.float64]:
        if self._versions.task is not Task.REGRESSION:
            return np.fromiter(map(self._truth_of.get, said, repeat(-1.0)), np.float64, len(said))
        try:
            return np.asarray(said, np.float64)
        except ValueError:  # a text among them is no number
            return np.array([_number(each) for each in said], np.float64)


def truths(classes: Sequence[str]) -> dict[_Truth, float]:
    """What a label may say for each class: its name, the number or the truth value that the name spells."""
    said: dict[_Truth, float] = {}
    for index, name in enumerate(classes):
        said[name] = float(index)
        if name.lower() in {"true", "false"}:
            said.setdefault(name.lower() == "true", float(index))
        elif np.isfinite(spelled := _number(name)):
            said.setdefault(spelled, float(index))  # 1, 1.0 and true are one key
    return said


def _decoded(
    values: Sequence[bytes | None], decoder: msgspec.json.Decoder[_Row], explain: Callable[[bytes | None], _Row]
) -> tuple[list[_Row], NDArray[np.intp], list[int]]:
    """Documents, their rows, and the rows that are none."""
    try:
        return list(map(decoder.decode, values)), np.arange(len(values)), []  # type: ignore[arg-type]
    except (msgspec.MsgspecError, TypeError, UnicodeDecodeError, RecursionError):
        pass  # at least one of them is not as expected: look at each
    documents, kept, unreadable = [], [], []
    for row, value in enumerate(values):
        try:
            documents.append(explain(value))
        except (InvalidRecordError, msgspec.ValidationError):
            unreadable.append(row)
        else:
            kept.append(row)
    return documents, np.array(kept, np.intp), unreadable


def _explained_prediction(value: bytes | None) -> _Prediction:
    return msgspec.convert(read_prediction(value), _Prediction)


def _explained_label(value: bytes | None) -> _Label:
    return msgspec.convert(read_label(value), _Label)


def _column(values: Any, dtype: Any, documents: Sequence[object]) -> NDArray[Any]:  # noqa: ANN401 - numpy's own freedom
    return np.fromiter(values, dtype, len(documents))


def _number(said: _Truth) -> float:
    try:
        return float(said) if said is not None else np.nan
    except ValueError:
        return np.nan
