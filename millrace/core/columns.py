"""Feature columns: what decoders make of records, and what models and profiles read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from millrace.core.errors import InvalidRecordError
from millrace.core.records import RecordBatch
from millrace.core.signature import Signature


@dataclass(frozen=True, slots=True)
class Rejection:
    """One record that cannot be scored: its row in the record batch, and why."""

    row: int
    error: InvalidRecordError


@dataclass(frozen=True, slots=True)
class FeatureColumns:
    """Rows of features, held as the model's input tensors.

    Attributes:
        signature: Names and types of the columns.
        tensors: One array per input of the signature, in its order: shape (n, k) for k stacked scalar features,
            (n, *shape) for one tensor feature, (n, 1) for one scalar feature. C-contiguous, of the feature's type.
    """

    signature: Signature
    tensors: tuple[NDArray[np.generic], ...]

    def __len__(self) -> int:
        return len(self.tensors[0])

    def column(self, name: str) -> NDArray[np.generic]:
        """Values of one feature: shape (n,) for a scalar feature, (n, *shape) for a tensor. A view."""
        for tensor, spec in zip(self.tensors, self.signature.inputs, strict=True):
            if name in spec.features:
                if self.signature.feature(name).shape:
                    return tensor
                return tensor[:, spec.features.index(name)]
        raise KeyError(name)

    def take(self, rows: NDArray[np.intp] | slice) -> "FeatureColumns":
        """These rows, in this order."""
        return FeatureColumns(self.signature, tuple(tensor[rows] for tensor in self.tensors))


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a decoder made of a record batch of n records: m rows and the records that are none.

    JSON and Avro give one row per record; an Arrow IPC record gives as many rows as it carries. A record is either
    decoded whole or rejected whole.

    Attributes:
        columns: The m rows.
        source: intp, shape (m,): the record of each row, as its row in the record batch; ascending.
        rows: int32, shape (m,): the row's number inside its record, 0 where a record is one row.
        event_ids: m texts of the records' own ids (header or field `id`), None for a row without one; or None when no
            row has one, which is the fast way: such rows are known by their coordinates.
        rejections: The records that cannot be decoded, ascending by row.
    """

    columns: FeatureColumns
    source: NDArray[np.intp]
    rows: NDArray[np.int32]
    event_ids: Sequence[str | None] | None
    rejections: tuple[Rejection, ...] = ()


class Decoder(Protocol):
    """Makes columns of records. Compiled once per signature and stream format; safe to call from any thread."""

    def decode(self, records: RecordBatch) -> Decoded:
        """Decode every record or reject it with its own reason. Never raises for what a record contains.

        Raises:
            TransientError: The schema registry cannot be reached; the same call may succeed later.
        """
        ...
