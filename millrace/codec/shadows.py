"""Shadow records: what the version that did not answer said, beside what the one that answered said.

Both in one record, so that whoever compares versions joins each event with the truth once.
"""

from collections.abc import Sequence
from typing import Annotated, Final, TypedDict

import msgspec
import orjson
from msgspec import Meta

from millrace.codec.predictions import Identity, JsonOutputs, JsonPredictionEncoder
from millrace.codec.reading import OutputsDocument, PredictionDocument, read_prediction
from millrace.codec.templates import Fill, Template, fill
from millrace.core.columns import Decoded
from millrace.core.errors import InvalidRecordError, Reason
from millrace.core.outputs import Outputs
from millrace.core.records import RecordBatch
from millrace.core.rollout import RolloutMode
from millrace.core.signature import Signature


class BesideDocument(TypedDict):
    """What the version that answered said."""

    version: Annotated[int, Meta(ge=1)]
    digest: str
    outputs: OutputsDocument


class ShadowDocument(PredictionDocument):
    """A shadow record: a prediction that nobody was answered with."""

    rollout: RolloutMode
    beside: BesideDocument


class ShadowEncoder:
    """Makes shadow records, always in JSON. Compiled once per pair of versions.

    Args:
        silent: The version that does not answer; the record is its prediction.
        answering: The version that answers the same events.
        signature: Classes of both, or none for numbers.
        mode: The rollout's mode; it says which of both is the challenger.
        enriched: Features of the silent version that did not come from the record.
        fill: Writes the records.
    """

    def __init__(
        self,
        silent: Identity,
        answering: Identity,
        signature: Signature,
        mode: RolloutMode,
        *,
        enriched: Sequence[str] = (),
        fill: Fill = fill,
    ) -> None:
        self._fill: Final = fill
        self._prediction: Final = JsonPredictionEncoder(silent, signature, enriched=enriched)
        self._outputs: Final = JsonOutputs(signature)
        digest = orjson.dumps(answering.digest)
        head = b',"rollout":"%b","beside":{"version":%d,"digest":%b' % (mode.encode(), answering.version, digest)
        self._tail: Final = Template.text(head) + self._outputs.template + Template.text(b"}}")

    def encode(
        self,
        records: RecordBatch,
        decoded: Decoded,
        silent: Outputs,
        answered: Outputs,
        *,
        bins: Sequence[bytes] | None,
        scored_at_ms: int,
    ) -> Sequence[bytes]:
        """The value of each row's shadow record; see `millrace.codec.predictions.PredictionEncoder`."""
        if not len(silent):
            return []
        template, columns = self._prediction.compose(records, decoded, silent, bins=bins, scored_at_ms=scored_at_ms)
        return self._fill(template + self._tail, [*columns, *self._outputs.columns(answered)])


def read_shadow(value: bytes | None) -> ShadowDocument:
    """A shadow record from its value.

    Raises:
        InvalidRecordError: The value is none.
    """
    read_prediction(value)
    try:
        document = msgspec.json.decode(value or b"", type=ShadowDocument)
    except msgspec.ValidationError as error:
        raise InvalidRecordError(Reason.SCHEMA_MISMATCH, str(error)) from None
    if document["rollout"] is RolloutMode.NONE or set(document["beside"]["outputs"]) != set(document["outputs"]):
        raise InvalidRecordError(Reason.SCHEMA_MISMATCH, "the two versions answer different questions")
    return document
