"""Features that do not come from the record: fetched from the online store between decoding and scoring.

A batch of records is decoded without them, their keys are looked up in one round trip for all tables, and the rows are
put together as the model wants them. A row that a required feature is missing for, or whose value cannot be read, is
rejected with its record; everything else about the batch stays as it was.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from millrace.core.columns import Decoded, Decoder, FeatureColumns, Rejection
from millrace.core.errors import InvalidRecordError, RequestError
from millrace.core.records import RecordBatch
from millrace.core.signature import DType, ExtraFields, Feature, ModelInput, Signature

Column: TypeAlias = NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Enriched:
    """Values for n rows.

    Attributes:
        columns: By feature, shape (n,); what stands in a refused row means nothing.
        refused: Rows without a value that they need, and why.
    """

    columns: Mapping[str, Column]
    refused: Mapping[int, InvalidRecordError] = field(default_factory=dict)


class Enricher(Protocol):
    """Knows the values of features that do not come from the record."""

    @property
    def features(self) -> Sequence[str]:
        """Names of these features."""
        ...

    @property
    def key_features(self) -> Sequence[Feature]:
        """What it needs to know of a record beside the features of the model."""
        ...

    def enrich(self, records: RecordBatch, decoded: Decoded) -> Enriched:
        """The values for the rows of `decoded`.

        Raises:
            TransientError: The online store is away, or is being filled; the same call may succeed later.
            FatalError: It refuses this client.
        """
        ...


class EnrichingDecoder:
    """Decodes records and completes their rows. See `millrace.core.columns.Decoder`.

    Args:
        signature: The model's.
        enricher: Knows the features that do not come from the record.
        compile: Makes the decoder of what does come from it.

    Raises:
        RequestError: A feature that is to be enriched is a tensor, or the record would carry no feature at all.
    """

    def __init__(self, signature: Signature, enricher: Enricher, compile: Callable[[Signature], Decoder]) -> None:  # noqa: A002 - what it does
        self._signature: Final = signature
        self._enricher: Final = enricher
        self._decoder: Final = compile(carried_signature(signature, enricher))

    def decode(self, records: RecordBatch) -> Decoded:
        """Decode every record, complete its rows, or reject it with its own reason.

        Raises:
            TransientError: The online store or the schema registry is away, or a table is being filled.
            FatalError: The online store refuses this client.
        """
        carried = self._decoder.decode(records)
        enriched = self._enricher.enrich(records, carried)
        whole = replace(carried, columns=self._assemble(carried.columns, enriched.columns))
        return _without(whole, enriched.refused) if enriched.refused else whole

    def _assemble(self, carried: FeatureColumns, values: Mapping[str, Column]) -> FeatureColumns:
        """The model's input tensors, of both kinds of features."""
        whole = dict(zip((tensor.name for tensor in carried.signature.inputs), carried.tensors, strict=True))
        for tensor in self._signature.inputs:
            if values.keys().isdisjoint(tensor.features):
                continue
            dtype = self._signature.feature(tensor.features[0]).dtype.numpy
            made: Column = np.empty((len(carried), len(tensor.features)), dtype)
            for place, name in enumerate(tensor.features):
                made[:, place] = values[name] if name in values else carried.column(name)
            whole[tensor.name] = made
        return FeatureColumns(self._signature, tuple(whole[tensor.name] for tensor in self._signature.inputs))


def carried_signature(signature: Signature, enricher: Enricher) -> Signature:
    """The signature of what records still carry: the model's features without the enriched ones, and the key fields.

    Raises:
        RequestError: As for `EnrichingDecoder`.
    """
    gone = set(enricher.features)
    for name in gone:
        if signature.feature(name).shape:
            raise RequestError(
                f"feature {name!r} is a tensor and cannot be enriched", remedy="enrich single values only"
            )
    features = [feature for feature in signature.features if feature.name not in gone]
    inputs = [
        ModelInput(tensor.name, kept)
        for tensor in signature.inputs
        if (kept := tuple(name for name in tensor.features if name not in gone))
    ]
    known = {feature.name for feature in features}
    keys = [feature for feature in enricher.key_features if feature.name not in known]
    if not features and not keys:
        raise RequestError(
            "every feature of the model comes from the online store, and the record has nothing to tell",
            remedy="name a key_field in enrich, or let the record carry a feature",
        )
    return replace(
        signature,
        features=(*features, *keys),
        inputs=(*inputs, *(ModelInput(f"key {key.name}", (key.name,)) for key in keys)),
    )


class Remembered:
    """Values of one row as its prediction has them. See `Enricher`.

    Args:
        signature: The model's.
        values: By feature, None for not a number; what is no feature of the model is passed over.
        key_fields: Fields by which they were looked up, which records have beside their features.
    """

    def __init__(self, signature: Signature, values: Mapping[str, Any], key_fields: Collection[str] = ()) -> None:
        self._signature: Final = signature
        self._key_fields: Final = key_fields
        known = {feature.name for feature in signature.features}
        self._values: Final = {name: value for name, value in values.items() if name in known}

    @property
    def features(self) -> Sequence[str]:
        """Names of the values."""
        return tuple(self._values)

    @property
    def key_features(self) -> Sequence[Feature]:
        """The key fields where the record is not read without them: they are all it has, or would be too much."""
        return key_fields_of(self._signature, self._values, self._key_fields)

    def enrich(self, records: RecordBatch, decoded: Decoded) -> Enriched:
        """The values, for every row."""
        count = len(decoded.columns)
        return Enriched(
            {name: filled(self._signature.feature(name), value, count) for name, value in self._values.items()}
        )


def key_fields_of(signature: Signature, known: Collection[str], fields: Collection[str]) -> tuple[Feature, ...]:
    """The key fields that records must be read with although the values of these features are known already."""
    is_all = len(known) == len(signature.features)
    if not known or not (is_all or signature.extra_fields is ExtraFields.REJECT):
        return ()
    return key_features(fields)


def key_features(fields: Collection[str]) -> tuple[Feature, ...]:
    """Fields that hold keys, as texts where the model does not say otherwise."""
    return tuple(Feature(name, DType.STRING) for name in dict.fromkeys(fields))


def filled(feature: Feature, value: Any, count: int) -> Column:  # noqa: ANN401 - a value of any feature
    """A column of one value; None is not a number."""
    return np.full(count, np.nan if value is None else value, feature.dtype.numpy)


def _without(whole: Decoded, refused: Mapping[int, InvalidRecordError]) -> Decoded:
    """Without the records of these rows, each rejected for the reason of its first one."""
    errors: dict[int, InvalidRecordError] = {}
    for row in sorted(refused):
        errors.setdefault(int(whole.source[row]), refused[row])
    kept = np.flatnonzero(~np.isin(whole.source, list(errors)))
    ids = None if whole.event_ids is None else list(map(whole.event_ids.__getitem__, kept.tolist()))
    rejections = (*whole.rejections, *(Rejection(record, error) for record, error in errors.items()))
    return Decoded(
        whole.columns.take(kept),
        whole.source[kept],
        whole.rows[kept],
        ids,
        tuple(sorted(rejections, key=attrgetter("row"))),
    )
