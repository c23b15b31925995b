"""Rows that a door brings as columns: on the way that records take to a model, but for their bytes.

A request over REST or gRPC has its values already. What is fetched for a record by reference or by key is fetched for
its rows by the same code, so that both get the same answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from millrace.core.columns import Decoded, Decoder, FeatureColumns
from millrace.core.records import RecordBatch
from millrace.core.signature import Signature


@dataclass(frozen=True, slots=True)
class GivenRows(RecordBatch):
    """Rows as records without values: each row is one record.

    Attributes:
        columns: The rows.
    """

    columns: FeatureColumns

    @classmethod
    def of(cls, columns: FeatureColumns, keys: Sequence[bytes | None]) -> Self:
        """Rows with their keys, which lie in no topic yet."""
        count = len(columns)
        nothing = [None] * count
        places = np.zeros(count, np.int32), np.arange(count), np.full(count, -1, np.int64)
        return cls("", *places, keys, nothing, nothing, columns)


class GivenRowsDecoder:
    """Reads `GivenRows` of one signature. See `millrace.core.columns.Decoder`."""

    def __init__(self, signature: Signature) -> None:
        self.signature: Final = signature

    def decode(self, records: RecordBatch) -> Decoded:
        """The rows as they are."""
        if not isinstance(records, GivenRows):
            raise TypeError("records have to be decoded from their bytes")
        count = len(records)
        return Decoded(records.columns, np.arange(count), np.zeros(count, np.int32), None)


@dataclass(frozen=True, slots=True)
class Completion:
    """How rows as they are asked become rows of a model.

    Attributes:
        asked: What a request brings.
        decoder: Completes `GivenRows` of that signature.
    """

    asked: Signature
    decoder: Decoder
