"""JSON records, decoded by the native module where they are plainly good, and in Python where they are not."""

from importlib import import_module
from typing import Final

from millrace.codec.json import JsonDecoder
from millrace.codec.limits import Limits
from millrace.codec.native import MODULE, NativeReader, decode, input_sizes, is_read_natively, places
from millrace.core.columns import Decoded, Decoder
from millrace.core.records import RecordBatch
from millrace.core.signature import ExtraFields, Signature


def native_json_decoder(signature: Signature, *, limits: Limits, id_field: str | None = None) -> Decoder:
    """A decoder over the native module, which must be built; texts as features are read in Python all the same.

    Raises:
        RequestError: As for `JsonDecoder`.
    """
    careful = JsonDecoder(signature, limits=limits, id_field=id_field)
    if not is_read_natively(signature):
        return careful
    return NativeJsonDecoder(signature, careful, limits=limits, id_field=id_field)


class NativeJsonDecoder:
    """Decodes JSON objects, one row each, without Python per record. See `millrace.core.columns.Decoder`.

    The native module (`native/json`) reads strict JSON of exactly the signature's types.

    Args:
        signature: What to read; without texts.
        careful: Decodes the records that the native module leaves.
        limits: Bounds on one record.
        id_field: Name of a field with the record's own id; None for no such field.
    """

    def __init__(self, signature: Signature, careful: Decoder, *, limits: Limits, id_field: str | None) -> None:
        self._signature: Final = signature
        self._careful: Final = careful
        self._reader: NativeReader = import_module(MODULE).JsonReader(
            input_sizes(signature),
            [
                (feature.name, number, place, feature.shape, feature.nullable)
                for feature, number, place in places(signature)
            ],
            id_field=id_field,
            refuse_others=signature.extra_fields is ExtraFields.REJECT,
            record_bytes=limits.record_bytes,
            depth=limits.depth,
        )

    def decode(self, records: RecordBatch) -> Decoded:
        """Decode every record to one row, or reject it with its own reason."""
        return decode(self._signature, self._reader, self._careful, records)
