import math

import numpy as np
import pyarrow as pa
import pytest

from millrace.codec.tables import decode_table
from millrace.core.errors import Reason, RequestError
from millrace.core.signature import DType, Feature
from millrace.testing.records import binary_signature

SIGNATURE = binary_signature(Feature("a", DType.FLOAT32), Feature("b", DType.FLOAT32, nullable=True))


def test_each_row_stands_or_falls_alone() -> None:
    table = pa.table({"a": [1.0, None, 3.0, math.inf], "b": [None, 1.0, 2.0, 3.0], "more": [[], [], [], []]})
    decoded = decode_table(table, SIGNATURE)
    assert decoded.source.tolist() == [0, 2]
    assert [(each.row, each.error.reason) for each in decoded.rejections] == [
        (1, Reason.MISSING_FIELD),
        (3, Reason.NOT_FINITE),
    ]
    np.testing.assert_array_equal(decoded.columns.column("b"), np.array([np.nan, 2.0], np.float32))


def test_a_table_in_pieces_is_one_table() -> None:
    pieces = pa.concat_tables([pa.table({"a": [1.0]}), pa.table({"a": [2.0]}).slice(1), pa.table({"a": [3.0]})])
    assert decode_table(pieces, SIGNATURE).columns.column("a").tolist() == [1.0, 3.0]


@pytest.mark.parametrize(
    ("table", "words"), [({"b": [1.0]}, "no column 'a'"), ({"a": ["x"]}, "column 'a' is string and cannot be read")]
)
def test_a_table_that_is_none_of_these_features_is_refused(table: dict[str, list[object]], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        decode_table(pa.table(table), SIGNATURE)
