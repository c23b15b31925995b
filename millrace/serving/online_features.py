"""Features from the online store: which of its tables, by which key, how old, and what stands in for none."""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import timedelta
from itertools import repeat
from operator import is_not
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from millrace.core.clock import Clock
from millrace.core.columns import Decoded, Decoder
from millrace.core.errors import InvalidRecordError, Reason, RequestError
from millrace.core.records import RecordBatch
from millrace.core.signature import DType, Feature, ModelInput, Signature, Task
from millrace.process.deployment import Enrichment
from millrace.serving.enriching import Column, Enriched, filled, key_features
from millrace.store.lookup import Found, Lookup

_QUOTED: Final = 64  # longest key that a reason repeats
_KEY_TYPES: Final = frozenset({DType.STRING, DType.INT32, DType.INT64})
_BLANK: Final[Mapping[DType, bool | int | float | str]] = {
    DType.FLOAT32: 0.0,
    DType.FLOAT64: 0.0,
    DType.INT32: 0,
    DType.INT64: 0,
    DType.BOOL: False,
    DType.STRING: "",
}
"""What stands in rows that are refused."""


class Store(Protocol):
    """The online store. See `millrace.store.online.OnlineStore`."""

    def fetch(self, lookups: Sequence[Lookup]) -> list[Found]:
        """Look all of it up, in one round trip."""
        ...


class OnFetch(Protocol):
    """Is told of every round trip to the online store. Must be quick and must not raise."""

    def __call__(self, *, seconds: float, defaulted: int) -> None:
        """It took so long, and so many rows have a default instead of a value."""
        ...


@dataclass(frozen=True, slots=True)
class _Table:
    """One table of the online store, compiled for one model.

    Attributes:
        spec: As the deployment says.
        features: The features that the model takes from it.
        decoder: Reads its records.
    """

    spec: Enrichment
    features: tuple[Feature, ...]
    decoder: Decoder


class OnlineFeatures:
    """Values from the online store. See `Enricher`.

    Args:
        signature: The model's.
        enrichments: As the deployment says.
        store: The online store.
        compile: Makes the decoder of a table's records.
        clock: Says how old a value is, and how long a round trip took.
        on_fetch: Told of every round trip.

    Raises:
        RequestError: A default is not of its feature's type, or a table's format cannot carry its features.
    """

    def __init__(
        self,
        signature: Signature,
        enrichments: Sequence[Enrichment],
        store: Store,
        compile: Callable[[Signature, Enrichment], Decoder],  # noqa: A002 - what it does
        *,
        clock: Clock,
        on_fetch: OnFetch,
    ) -> None:
        known = {feature.name for feature in signature.features}
        self._tables: Final = [
            _Table(spec, features, compile(_table_signature(signature, features), spec))
            for spec in enrichments
            if (features := tuple(signature.feature(name) for name in spec.features if name in known))
        ]
        for table in self._tables:
            _check(table, signature, set(self.features))
        self._store: Final = store
        self._clock: Final = clock
        self._on_fetch: Final = on_fetch

    @property
    def features(self) -> Sequence[str]:
        """The features that the model takes from any table."""
        return tuple(feature.name for table in self._tables for feature in table.features)

    @property
    def key_features(self) -> Sequence[Feature]:
        """The fields that hold keys."""
        return key_features([table.spec.key_field for table in self._tables if table.spec.key_field is not None])

    def enrich(self, records: RecordBatch, decoded: Decoded) -> Enriched:
        """Look up the keys of all rows in all tables, in one round trip."""
        if not len(decoded.columns):
            return Enriched(
                {feature.name: filled(feature, 0, 0) for table in self._tables for feature in table.features}
            )
        keys = [_keys(table.spec.key_field, records, decoded) for table in self._tables]
        keyed = [np.fromiter(map(is_not, column, repeat(None)), np.bool_, len(column)) for column in keys]
        lookups = [
            Lookup(table.spec.table, column[present].tolist())
            for table, column, present in zip(self._tables, keys, keyed, strict=True)
        ]
        started = self._clock.monotonic()
        answers = self._store.fetch(lookups)
        seconds = self._clock.monotonic() - started
        columns: dict[str, Column] = {}
        refused: dict[int, InvalidRecordError] = {}
        absent = np.zeros(len(decoded.columns), np.bool_)
        for table, column, present, found in zip(self._tables, keys, keyed, answers, strict=True):
            rows = np.full(len(column), -1, np.intp)
            rows[present] = found.require_filled().rows
            joined = _join(table, found.records, rows, horizon_ms=self._horizon_ms(table.spec))
            columns |= joined.columns
            absent |= joined.absent
            refused = {**_refused(table, joined, column), **refused}
        absent[list(refused)] = False
        self._on_fetch(seconds=seconds, defaulted=int(np.count_nonzero(absent)))
        return Enriched(columns, refused)

    def _horizon_ms(self, spec: Enrichment) -> int | None:
        """The timestamp of the oldest record that counts."""
        if spec.max_age_secs is None:
            return None
        return self._clock.wall_ms() - timedelta(seconds=spec.max_age_secs) // timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class _Joined:
    """One table's values for n rows.

    Attributes:
        columns: By feature; defaults where there is no value.
        absent: Rows for which the table has no value, or none young enough.
        unreadable: By row, why its value cannot be read.
    """

    columns: Mapping[str, Column]
    absent: NDArray[np.bool_]
    unreadable: Mapping[int, InvalidRecordError]


def _join(table: _Table, found: RecordBatch, rows: NDArray[np.intp], *, horizon_ms: int | None) -> _Joined:
    """The values of the records that were found; `rows` says which of them each row gets, -1 for none."""
    values = table.decoder.decode(found)
    place = np.full(len(found) + 1, -1, np.intp)  # the last one is that of row -1
    place[values.source] = np.arange(len(values.source))
    absent = rows < 0
    if horizon_ms is not None:
        absent |= np.append(found.timestamps_ms, horizon_ms)[rows] < horizon_ms
    usable = ~absent & (place[rows] >= 0)
    picked = place[rows[usable]]
    columns: dict[str, Column] = {}
    for feature in table.features:
        default = table.spec.defaults.get(feature.name, _BLANK[feature.dtype])
        column = filled(feature, default, len(rows))
        column[usable] = values.columns.column(feature.name)[picked]
        columns[feature.name] = column
    errors = {rejection.row: rejection.error for rejection in values.rejections}
    unreadable = {row: errors[int(rows[row])] for row in np.flatnonzero(~absent & ~usable).tolist()}
    return _Joined(columns, absent, unreadable)


def _refused(table: _Table, joined: _Joined, keys: NDArray[np.object_]) -> dict[int, InvalidRecordError]:
    """The rows that cannot be scored without what the table does not have, or cannot say."""
    refused = {
        row: InvalidRecordError(error.reason, f"{_place(table, keys[row])}: {error.detail}")
        for row, error in joined.unreadable.items()
    }
    required = [feature.name for feature in table.features if feature.name not in table.spec.defaults]
    if required:
        young = "" if table.spec.max_age_secs is None else f" younger than {table.spec.max_age_secs} s"
        for row in np.flatnonzero(joined.absent).tolist():
            lacking = f"{_place(table, keys[row])}: no value{young}, and {required[0]!r} has no default"
            refused[row] = InvalidRecordError(Reason.UNENRICHED, lacking)
    return refused


def _place(table: _Table, key: bytes | None) -> str:
    shown = "no key" if key is None else f"key {key[:_QUOTED].decode('utf-8', 'backslashreplace')!r}"
    return f"table {table.spec.table}, {shown}"


def _keys(key_field: str | None, records: RecordBatch, decoded: Decoded) -> NDArray[np.object_]:
    """The key of each row, or None."""
    count = len(decoded.columns)
    if key_field is None:
        return np.fromiter(map(records.keys.__getitem__, decoded.source.tolist()), np.object_, count)
    column = decoded.columns.column(key_field)
    texts = column.tolist() if column.dtype.kind == "O" else map(str, column.tolist())
    return np.fromiter(map(str.encode, texts), np.object_, count)


def _table_signature(signature: Signature, features: Sequence[Feature]) -> Signature:
    """How a table's records are read: as the model's own records, but only these features of them."""
    inputs = tuple(ModelInput(feature.name, (feature.name,)) for feature in features)
    return Signature(tuple(features), inputs, Task.REGRESSION, "none", not_finite=signature.not_finite)


def _check(table: _Table, signature: Signature, enriched: Set[str]) -> None:
    """Refuse what can never work, before the first record."""
    for feature in table.features:
        if feature.name in table.spec.defaults and not _fits(feature, table.spec.defaults[feature.name]):
            raise RequestError(
                f"the default of feature {feature.name!r} in enrich is not {feature.dtype}",
                remedy="write a value of the feature's type; null only where the feature is nullable",
            )
    key = table.spec.key_field
    if key in enriched:
        raise RequestError(
            f"key_field {key!r} of table {table.spec.table} itself comes from the online store",
            remedy="name a field that the record carries",
        )
    of_model = {feature.name: feature for feature in signature.features}
    if key in of_model and (of_model[key].dtype not in _KEY_TYPES or of_model[key].shape):
        raise RequestError(
            f"key_field {key!r} of table {table.spec.table} is {of_model[key].dtype}",
            remedy="name a text or an integer",
        )


def _fits(feature: Feature, default: bool | float | str | None) -> bool:  # noqa: FBT001 - a value like others
    match feature.dtype:
        case DType.FLOAT32 | DType.FLOAT64:
            return feature.nullable if default is None else isinstance(default, int | float) and _is_number(default)
        case DType.INT32 | DType.INT64:
            bounds = np.iinfo(feature.dtype.value)
            return isinstance(default, int) and _is_number(default) and bounds.min <= default <= bounds.max
        case DType.BOOL:
            return isinstance(default, bool)
        case DType.STRING:
            return isinstance(default, str)


def _is_number(value: float) -> bool:
    return not isinstance(value, bool)
