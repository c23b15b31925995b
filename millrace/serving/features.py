"""Features that a topology makes of a topic: its records to what a window must know, and closed windows to records.

Whatever engine keeps the state and moves the records, these are the two ends, so that all write the same rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import orjson

from millrace.codec.dispatch import stream_decoder
from millrace.codec.limits import Limits
from millrace.codec.schema_source import SchemaSource
from millrace.codec.tables import rows_as_json, table_of
from millrace.core.columns import Decoder, Rejection
from millrace.core.records import RecordBatch
from millrace.core.signature import Feature, ModelInput, Signature, Task
from millrace.process.deployment import RecordFormat
from millrace.serving.transforming import UntransformableError, accepted_signature
from millrace.transform import Closed, Program, Readings, WindowedTransform

_ANY_MODEL: Final = Signature(
    features=(Feature("any"),), inputs=(ModelInput("any", ("any",)),), task=Task.REGRESSION, score_output="any"
)
"""Records are decoded by a signature, and there is no model here."""


@dataclass(frozen=True, slots=True)
class Read:
    """What became of n records.

    Attributes:
        readings: What the window must know of those that can be read, in their order.
        source: Of each reading the number of its record among the n, ascending.
        decode: Records that cannot be decoded.
        transform: Records that the steps before the window refuse.
    """

    readings: Readings
    source: Sequence[int]
    decode: Sequence[Rejection]
    transform: Sequence[Rejection]


@dataclass(frozen=True, slots=True)
class FeatureRecords:
    """Records of features, in columns of one length.

    Attributes:
        keys: The key column as text, or a JSON array of them where there are several or it is no text.
        values: JSON objects; times as whole milliseconds since 1970.
        timestamps_ms: The ends of the windows.
        source: Of each record the number of its window among those that closed.
    """

    keys: Sequence[bytes]
    values: Sequence[bytes]
    timestamps_ms: Sequence[int]
    source: Sequence[int]


@dataclass(frozen=True, slots=True)
class FeatureStream:
    """The two ends of one transform with a window. Safe to use from several threads.

    Attributes:
        parts: The transform, cut at its window.
        decoder: Reads the transform's input columns of records.
    """

    parts: WindowedTransform
    decoder: Decoder

    @classmethod
    def of(cls, program: Program, form: RecordFormat, *, schemas: SchemaSource | None = None) -> Self:
        """Compile the ends of a transform.

        Args:
            program: The transform.
            form: How values are written, where no content-type header says otherwise.
            schemas: Knows the writers' schemas of Avro records.

        Raises:
            RequestError: The transform has not exactly one window, or a column that a record's field cannot be.
        """
        signature = accepted_signature(program, _ANY_MODEL)
        decoder = stream_decoder(signature, form, limits=Limits(), schemas=schemas)
        return cls(WindowedTransform.of(program), decoder)

    def read(self, records: RecordBatch) -> Read:
        """Decode records and do to them what comes before the window.

        Raises:
            TransientError: The schema registry cannot be reached; the same call may succeed later.
        """
        decoded = self.decoder.decode(records)
        readings = self.parts.read(table_of(decoded.columns))
        refused = [
            Rejection(int(decoded.source[each.row]), UntransformableError(each.reason, each.detail, step=each.step))
            for each in readings.refused
        ]
        return Read(readings, decoded.source[readings.rows].tolist(), decoded.rejections, refused)

    def write(self, closed: Sequence[Closed]) -> FeatureRecords:
        """The records of windows that closed; none of a window whose row the steps after it refuse or leave out."""
        made = self.parts.rows(closed)
        source: list[int] = made.source.tolist()
        kept = [closed[number] for number in source]
        return FeatureRecords(
            keys=[_key(each.key) for each in kept],
            values=rows_as_json(made.table),
            timestamps_ms=[each.start_ms + self.parts.window.size_ms for each in kept],
            source=source,
        )


def _key(values: Sequence[Any]) -> bytes:
    if len(values) == 1 and isinstance(values[0], str):
        return values[0].encode()
    return orjson.dumps(list(values))
