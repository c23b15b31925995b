"""Records of a predictions topic, made ready once for every subscriber."""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from millrace.codec.reading import PredictionDocument, read_prediction
from millrace.core.errors import InvalidRecordError
from millrace.core.records import Coordinates, RecordBatch
from millrace_gateway.logic.selection import Published

_LINE = bytes.maketrans(b"\r\n", b"  ")


@dataclass(frozen=True, slots=True)
class PublishedBatch:
    """What a batch of records holds.

    Attributes:
        predictions: In the order of the records.
        invalid: How many records are no predictions, which are passed over.
    """

    predictions: Sequence[Published]
    invalid: int = 0


def publish(batch: RecordBatch) -> PublishedBatch:
    """The predictions of a batch."""
    found = [_publish(batch, row) for row in range(len(batch))]
    predictions = [each for each in found if each is not None]
    return PublishedBatch(predictions, len(found) - len(predictions))


def _publish(batch: RecordBatch, row: int) -> Published | None:
    value, key, at = batch.values[row], batch.keys[row], batch.coordinates(row)
    try:
        document = read_prediction(value)
    except InvalidRecordError:
        return None
    outputs = document["outputs"]
    return Published(
        at.partition,
        at.offset,
        key,
        _text(value or b"", document, key, at),
        document["version"],
        outputs.get("label"),
        outputs.get("scores", {}),
        outputs.get("value"),
    )


def _text(value: bytes, document: PredictionDocument, key: bytes | None, at: Coordinates) -> bytes:
    """One line of JSON. What is JSON already stays as it is, with fields that this version does not know."""
    text = value.strip() if value.lstrip()[:1] == b"{" else orjson.dumps(document)
    name = None if key is None else key.decode("utf-8", "backslashreplace")
    # A line break can only stand between two tokens: inside a text of JSON it is written as \n.
    return b"%b,%b" % (text[:-1].translate(_LINE), orjson.dumps({"key": name, "at": str(at)})[1:])
