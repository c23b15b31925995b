"""Tables of features as columns: each row stands or falls alone."""

import numpy as np
import pyarrow as pa

from millrace.codec.arrow_columns import check_columns, read_tensors
from millrace.codec.rows import Rows, assemble
from millrace.core.bisection import split_good
from millrace.core.columns import Decoded, Rejection
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
