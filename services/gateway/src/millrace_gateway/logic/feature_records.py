"""Rows of features as JSON records, such as the decoders of topics read: what was asked becomes a record again.

Reading a record gives the same bits as the request had: numbers are written as the shortest decimal that reads back as
the same number.
"""

import json
from collections.abc import Iterable
from functools import partial
from typing import Final

import numpy as np
import orjson
from numpy.typing import NDArray

from millrace.core.columns import FeatureColumns
from millrace.core.signature import Feature, Signature

_NUMPY: Final = orjson.OPT_SERIALIZE_NUMPY


class FeatureRecordEncoder:
    """Writes rows of one signature. Compiled once; safe to call from any thread."""

    def __init__(self, signature: Signature) -> None:
        self._signature: Final = signature
        names = (orjson.dumps(feature.name).replace(b"%", b"%%") for feature in signature.features)
        self._template: Final = b"{" + b",".join(name + b":%b" for name in names) + b"}"

    def encode(self, columns: FeatureColumns) -> list[bytes]:
        """One record of each row."""
        fields = [self._texts(feature, columns.column(feature.name)) for feature in self._signature.features]
        return list(map(self._template.__mod__, zip(*fields, strict=True)))

    def _texts(self, feature: Feature, column: NDArray[np.generic]) -> Iterable[bytes]:
        if column.dtype.kind == "O":
            return map(orjson.dumps, column.tolist())
        if column.dtype.kind == "f" and not np.isfinite(column).all():
            # The slow way, for values that JSON has no number for: null where the field may be absent, else a literal
            # that the decoders know.
            absent = np.isnan(column).reshape(len(column), -1).all(axis=1) & feature.nullable
            texts = np.fromiter(map(str.encode, map(json.dumps, column.tolist())), np.object_, len(column))
            return np.where(absent, b"null", texts).tolist()  # type: ignore[no-any-return]
        if feature.shape:
            return map(partial(orjson.dumps, option=_NUMPY), np.ascontiguousarray(column))
        return orjson.dumps(np.ascontiguousarray(column), option=_NUMPY)[1:-1].split(b",")
