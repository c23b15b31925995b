"""Tables of features as columns: each row stands or falls alone."""

import numpy as np
import orjson
import pyarrow as pa

from millrace.codec.arrow_columns import check_columns, read_tensors
from millrace.codec.rows import Rows, assemble
from millrace.core.bisection import split_good
from millrace.core.columns import Decoded, FeatureColumns, Rejection
from millrace.core.errors import InvalidRecordError, RequestError
from millrace.core.signature import Signature


def decode_table(table: pa.Table, signature: Signature) -> Decoded:
    """Read the rows of a table, each as if it were a record of its own; columns that are no features are not read.

    Integers and floats are read as the records of other formats are, so that all give equal bits.

    Raises:
        RequestError: A feature has no column, or one of another type.
    """
    try:
        check_columns(table.schema, signature)
    except InvalidRecordError as error:
        raise RequestError(
            f"the table cannot be scored: {error.detail}",
            remedy="name the columns as the model's features, or transform them",
        ) from None
    reasons: dict[int, InvalidRecordError] = {}

    def attempt(rows: slice) -> Rows | None:
        try:
            return Rows(read_tensors(table.slice(rows.start, rows.stop - rows.start), signature))
        except InvalidRecordError as error:
            reasons[rows.start] = error
            return None

    pieces: list[Rows] = []
    refused: list[Rejection] = []
    for rows, made in split_good(attempt, len(table)):
        if made is None:
            refused.append(Rejection(rows.start, reasons[rows.start]))
        else:
            pieces.append(made)
    source = np.delete(np.arange(len(table)), [rejection.row for rejection in refused])
    return assemble(signature, pieces, source, refused)


def table_of(columns: FeatureColumns) -> pa.Table:
    """Scalar features as a table, in the order of the signature."""
    return pa.table({feature.name: _as_array(columns, feature.name) for feature in columns.signature.features})


def rows_as_json(table: pa.Table | pa.RecordBatch) -> list[bytes]:
    """Each row as a JSON object: times as whole milliseconds since 1970, NaN and infinities as null."""
    columns = [
        column.cast(pa.timestamp("ms")).cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
        for column in table.columns
    ]
    rows = pa.Table.from_arrays(columns, names=table.schema.names).to_pylist()
    return list(map(orjson.dumps, rows))


def _as_array(columns: FeatureColumns, name: str) -> pa.Array:
    values = columns.column(name)
    return pa.array(values, pa.string()) if values.dtype == np.object_ else pa.array(np.ascontiguousarray(values))
