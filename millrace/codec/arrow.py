"""Arrow IPC feature records: many rows in one record, as a stream or as a file.

A record is decoded whole or rejected whole. Before anything is unpacked, the stream's own descriptions are held against
the limits, and its schema against the signature.
"""

from typing import Final

import numpy as np
import pyarrow as pa
from pyarrow import ipc

from millrace.codec.arrow_columns import check_columns, is_id, read_ids, read_tensors, whole_column
from millrace.codec.arrow_messages import FILE_MAGIC, read_claim
from millrace.codec.limits import Limits
from millrace.codec.rows import Rows, assemble, row_numbers
from millrace.codec.screening import screen
from millrace.core.columns import Decoded, Rejection
from millrace.core.errors import InvalidRecordError, Reason
from millrace.core.records import RecordBatch
from millrace.core.signature import ExtraFields, Signature

# What pyarrow raises for bytes that are not what they claim to be.
_BROKEN: Final = (pa.ArrowException, OSError, ValueError, TypeError, KeyError, IndexError, OverflowError, MemoryError)


class ArrowDecoder:
    """Decodes Arrow IPC records. See `millrace.core.columns.Decoder`.

    Columns are found by name. A feature that is a tensor is a list column, flat or nested; a text may be dictionary
    encoded.

    Args:
        signature: What to read.
        limits: Bounds on one record.
        id_field: Name of a column with the rows' own ids, texts or integers; None for no such column.
    """

    def __init__(self, signature: Signature, *, limits: Limits, id_field: str | None = None) -> None:
        self._signature: Final = signature
        self._limits: Final = limits
        self._id_field: Final = id_field
        self._wanted: Final = {feature.name for feature in signature.features} | {id_field}

    def decode(self, records: RecordBatch) -> Decoded:
        """Decode every record to its rows, or reject it with its own reason."""
        screened = screen(records.values, record_bytes=self._limits.record_bytes)
        pieces: list[Rows] = []
        places: list[int] = []
        rejections = list(screened.rejections)
        for place, value in zip(screened.rows.tolist(), screened.values, strict=True):
            try:
                pieces.append(self._read(value))
                places.append(place)
            except InvalidRecordError as error:
                rejections.append(Rejection(place, error))
        lengths = np.fromiter(map(len, pieces), np.intp, len(pieces))
        source, numbers = row_numbers(np.array(places, np.intp), lengths)
        return assemble(self._signature, pieces, source, rejections, rows=numbers)

    def _read(self, value: bytes) -> Rows:
        start = len(FILE_MAGIC) if value.startswith(FILE_MAGIC) else 0
        claim = read_claim(value, start)
        if not start and claim.end < len(value):
            raise InvalidRecordError(Reason.MALFORMED, f"{len(value) - claim.end} bytes follow the stream")
        self._check_size(claim.rows, claim.expanded_bytes)
        try:
            return self._read_stream(pa.py_buffer(value).slice(start, claim.end - start))
        except _BROKEN as error:
            words = str(error).partition("\n")[0][:200]
            reason = Reason.INVALID_UTF8 if "UTF8" in words else Reason.MALFORMED
            raise InvalidRecordError(reason, f"it cannot be read as Arrow IPC: {words}") from None

    def _check_size(self, rows: int, expanded: int) -> None:
        if rows > self._limits.rows:
            raise InvalidRecordError(
                Reason.OVERSIZED, f"the record has {rows} rows and the stream allows {self._limits.rows}"
            )
        if expanded > self._limits.expanded_bytes:
            raise InvalidRecordError(
                Reason.OVERSIZED,
                f"the record has {expanded} bytes once unpacked and the stream allows {self._limits.expanded_bytes}",
            )
        if not rows:
            raise InvalidRecordError(Reason.EMPTY, "the record has no rows")

    def _read_stream(self, stream: pa.Buffer) -> Rows:
        with ipc.open_stream(stream) as reader:
            self._check_schema(reader.schema)
            wanted = [index for index, name in enumerate(reader.schema.names) if name in self._wanted]
            if len(wanted) == len(reader.schema):
                return self._rows(reader.read_all())
        # Columns that nobody wants are not even unpacked.
        with ipc.open_stream(stream, options=ipc.IpcReadOptions(included_fields=wanted)) as reader:
            return self._rows(reader.read_all())

    def _check_schema(self, schema: pa.Schema) -> None:
        if len(set(schema.names)) < len(schema.names):
            raise InvalidRecordError(Reason.SCHEMA_MISMATCH, "two columns have one name")
        check_columns(schema, self._signature)
        if self._id_field in schema.names and not is_id(schema.field(self._id_field).type):
            raise InvalidRecordError(
                Reason.WRONG_TYPE, f"the id column {self._id_field!r} holds neither texts nor integers"
            )
        if self._signature.extra_fields is ExtraFields.REJECT:
            extra = set(schema.names) - self._wanted
            if extra:
                raise InvalidRecordError(
                    Reason.EXTRA_FIELD, f"column {min(extra)[:64]!r} is not in the model's signature"
                )

    def _rows(self, table: pa.Table) -> Rows:
        table.validate(full=True)  # offsets and texts are whatever the writer wrote
        tensors = read_tensors(table, self._signature)
        ids = None
        if self._id_field is not None and self._id_field in table.column_names:
            ids = read_ids(whole_column(table, self._id_field))
        return Rows(tensors, ids if ids is not None and any(ids) else None)
