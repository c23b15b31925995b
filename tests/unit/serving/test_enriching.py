"""Rows that are completed from the online store: joined, aged, defaulted, refused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from millrace.codec.json import JsonDecoder
from millrace.codec.limits import Limits
from millrace.codec.predictions import Identity, JsonPredictionEncoder
from millrace.codec.reading import read_prediction
from millrace.core.columns import Decoded, Decoder
from millrace.core.errors import Reason, RequestError, TransientError
from millrace.core.outputs import Outputs
from millrace.core.records import RecordBatch
from millrace.core.signature import DType, ExtraFields, Feature, ModelInput, Signature, Task
from millrace.process.deployment import Enrichment
from millrace.serving.enriching import EnrichingDecoder, Remembered
from millrace.serving.online_features import OnlineFeatures
from millrace.store.lookup import Found, Fullness, Lookup
from millrace.testing.clock import ManualClock
from millrace.testing.records import record_batch

NOW = 1_700_000_000_000

SIGNATURE = Signature(
    features=(
        Feature("a"),
        Feature("mean"),
        Feature("count", DType.INT64),
        Feature("kind", DType.STRING),
        Feature("gust", nullable=True),
    ),
    inputs=(
        ModelInput("numbers", ("a", "mean", "gust")),
        ModelInput("count", ("count",)),
        ModelInput("kind", ("kind",)),
    ),
    task=Task.BINARY,
    score_output="scores",
    classes=("no", "yes"),
)


def decoder(signature: Signature, *_: object) -> Decoder:
    return JsonDecoder(signature, limits=Limits())


def spec(**changes: object) -> Enrichment:
    return Enrichment.model_validate({"table": "stations", "features": ("mean", "count", "kind", "gust"), **changes})


@dataclass
class Shelf:
    """An online store in memory: of each table, values and timestamps by key."""

    tables: Mapping[str, Mapping[bytes, tuple[bytes, int]]]
    fullness: Fullness = Fullness.FILLED
    asked: list[Sequence[Lookup]] = field(default_factory=list)

    def fetch(self, lookups: Sequence[Lookup]) -> list[Found]:
        self.asked.append(lookups)
        return [self._found(lookup, self.tables[lookup.topic]) for lookup in lookups]

    def _found(self, lookup: Lookup, table: Mapping[bytes, tuple[bytes, int]]) -> Found:
        keys = [key for key in dict.fromkeys(lookup.keys) if key in table]
        count = len(keys)
        records = RecordBatch(
            lookup.topic,
            np.zeros(count, np.int32),
            np.arange(count, dtype=np.int64),
            np.array([table[key][1] for key in keys], np.int64),
            keys,
            [table[key][0] for key in keys],
            [None] * count,
        )
        rows = [keys.index(key) if key in table else -1 for key in lookup.keys]
        return Found(records, np.array(rows, np.intp), self.fullness)


OSLO = b'{"mean": 1.5, "count": 7, "kind": "urban", "gust": null}'


@dataclass
class Bench:
    shelf: Shelf
    specs: Sequence[Enrichment]
    signature: Signature = SIGNATURE
    defaulted: int = 0

    def fetched(self, *, seconds: float, defaulted: int) -> None:
        assert seconds >= 0
        self.defaulted += defaulted

    def decode(self, values: Sequence[bytes], keys: Sequence[bytes | None]) -> Decoded:
        clock = ManualClock(wall_ms=NOW)
        online = OnlineFeatures(self.signature, self.specs, self.shelf, decoder, clock=clock, on_fetch=self.fetched)
        return EnrichingDecoder(self.signature, online, decoder).decode(record_batch(values, keys=keys))


def bench(table: Mapping[bytes, tuple[bytes, int]], **changes: object) -> Bench:
    return Bench(Shelf({"stations": table}), [spec(**changes)])


def row(decoded: Decoded, index: int) -> dict[str, Any]:
    return {each.name: decoded.columns.column(each.name)[index] for each in decoded.columns.signature.features}


def test_rows_get_the_values_of_their_keys_in_the_models_order() -> None:
    table = {b"oslo": (OSLO, NOW), b"rome": (b'{"mean":2,"count":-1,"kind":"\xc3\xa9","gust":4}', NOW)}
    decoded = bench(table).decode([b'{"a":10}', b'{"a":20}', b'{"a":30}'], [b"rome", b"oslo", b"rome"])
    assert decoded.columns.signature == SIGNATURE
    assert [tensor.shape for tensor in decoded.columns.tensors] == [(3, 3), (3, 1), (3, 1)]
    assert decoded.columns.tensors[0].dtype == np.float32
    assert row(decoded, 0) == {"a": 10, "mean": 2, "count": -1, "kind": "é", "gust": 4}
    assert row(decoded, 2) == {"a": 30, "mean": 2, "count": -1, "kind": "é", "gust": 4}
    assert np.isnan(row(decoded, 1)["gust"])
    assert decoded.source.tolist() == [0, 1, 2]


def test_all_tables_are_one_round_trip_and_a_key_may_be_a_field() -> None:
    shelf = Shelf(
        {"stations": {b"oslo": (b'{"mean":1,"kind":"x","gust":2}', NOW)}, "counts": {b"42": (b'{"count":9}', NOW)}}
    )
    specs = [spec(features=("mean", "kind", "gust"), key_field="station"), spec(table="counts", features=("count",))]
    decoded = Bench(shelf, specs).decode([b'{"a":1,"station":"oslo"}'], [b"42"])
    assert row(decoded, 0) == {"a": 1, "mean": 1, "count": 9, "kind": "x", "gust": 2}
    assert [(lookup.topic, list(lookup.keys)) for lookups in shelf.asked for lookup in lookups] == [
        ("stations", [b"oslo"]),
        ("counts", [b"42"]),
    ]


def test_an_integer_feature_may_be_the_key() -> None:
    shelf = Shelf({"stations": {b"-7": (b'{"mean":1,"kind":"x","gust":2}', NOW)}})
    decoded = Bench(shelf, [spec(features=("mean", "kind", "gust"), key_field="count")]).decode(
        [b'{"a":1,"count":-7}'], [None]
    )
    assert row(decoded, 0)["mean"] == 1


def test_a_row_without_a_required_value_is_refused_and_its_neighbours_are_not() -> None:
    decoded = bench({b"oslo": (OSLO, NOW)}).decode(
        [b'{"a":1}', b'{"a":2}', b'{"a":3}', b"no"], [b"paris", b"oslo", None, b"oslo"]
    )
    assert row(decoded, 0)["a"] == 2
    assert decoded.source.tolist() == [1]
    told = {rejection.row: (rejection.error.reason, rejection.error.detail) for rejection in decoded.rejections}
    assert told[0] == (Reason.UNENRICHED, "table stations, key 'paris': no value, and 'mean' has no default")
    assert told[2] == (Reason.UNENRICHED, "table stations, no key: no value, and 'mean' has no default")
    assert told[3][0] is Reason.MALFORMED
    assert list(told) == [0, 2, 3]


def test_defaults_stand_in_for_what_is_absent_or_too_old() -> None:
    defaults = {"mean": 0.5, "count": 3, "kind": "?", "gust": None}
    table = {b"oslo": (OSLO, NOW - 60_000), b"rome": (OSLO, NOW - 60_001)}
    made = bench(table, defaults=defaults, max_age_secs=60)
    decoded = made.decode([b'{"a":1}'] * 3, [b"oslo", b"rome", b"paris"])
    assert decoded.columns.column("mean").tolist() == [1.5, 0.5, 0.5]
    assert decoded.columns.column("count").tolist() == [7, 3, 3]
    assert decoded.columns.column("kind").tolist() == ["urban", "?", "?"]
    assert np.isnan(decoded.columns.column("gust")).all()
    assert (decoded.rejections, made.defaulted) == ((), 2)


def test_what_is_too_old_and_required_is_refused_with_its_age() -> None:
    made = bench({b"oslo": (OSLO, NOW - 60_001)}, max_age_secs=60, defaults={"mean": 0.5})
    [rejection] = made.decode([b'{"a":1}'], [b"oslo"]).rejections
    assert (
        rejection.error.detail == "table stations, key 'oslo': no value younger than 60 s, and 'count' has no default"
    )
    assert made.defaulted == 0


def test_a_value_that_cannot_be_read_is_never_replaced_by_a_default() -> None:
    defaults = {"mean": 0.5, "count": 3, "kind": "?", "gust": 1.0}
    table = {b"oslo": (b'{"mean":"high","count":1,"kind":"x"}', NOW), b"rome": (OSLO, NOW)}
    decoded = bench(table, defaults=defaults).decode([b'{"a":1}', b'{"a":2}'], [b"oslo", b"rome"])
    [rejection] = decoded.rejections
    assert (rejection.row, rejection.error.reason) == (0, Reason.WRONG_TYPE)
    assert rejection.error.detail.startswith("table stations, key 'oslo': ")
    assert decoded.columns.column("a").tolist() == [2]


def test_features_that_a_version_does_not_use_are_not_fetched() -> None:
    made = bench({b"oslo": (b'{"mean":1,"count":7,"kind":"x","gust":2}', NOW)})
    made.signature = Signature((Feature("a"), Feature("mean")), (ModelInput("x", ("a", "mean")),), Task.REGRESSION, "y")
    assert row(made.decode([b'{"a":1}'], [b"oslo"]), 0) == {"a": 1, "mean": 1}


@pytest.mark.parametrize("fullness", [Fullness.ABSENT, Fullness.FILLING])
def test_a_table_that_is_not_full_is_waited_for(fullness: Fullness) -> None:
    made = Bench(Shelf({"stations": {}}, fullness), [spec()])
    with pytest.raises(TransientError, match="millrace-materializer --topic stations"):
        made.decode([b'{"a":1}'], [b"oslo"])


def test_records_that_cannot_be_decoded_ask_for_nothing() -> None:
    made = bench({})
    decoded = made.decode([b"no", b""], [b"oslo", b"oslo"])
    assert (len(decoded.columns), len(decoded.rejections), made.shelf.asked) == (0, 2, [])
    assert [tensor.shape for tensor in decoded.columns.tensors] == [(0, 3), (0, 1), (0, 1)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"defaults": {"mean": "high"}}, "default of feature 'mean' in enrich is not float32"),
        ({"defaults": {"mean": True}}, "'mean' in enrich is not float32"),
        ({"defaults": {"mean": None}}, "'mean' in enrich is not float32"),
        ({"defaults": {"count": 1.5}}, "'count' in enrich is not int64"),
        ({"defaults": {"count": 2**63}}, "'count' in enrich is not int64"),
        ({"defaults": {"kind": 1}}, "'kind' in enrich is not string"),
        ({"key_field": "mean"}, "itself comes from the online store"),
        ({"key_field": "a"}, "key_field 'a' of table stations is float32"),
    ],
)
def test_what_can_never_work_is_refused_before_the_first_record(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        bench({}, **changes).decode([], [])


def test_a_tensor_is_not_enriched_and_a_record_must_carry_something() -> None:
    tensor = Signature((Feature("mean", shape=(2,)),), (ModelInput("x", ("mean",)),), Task.REGRESSION, "y")
    with pytest.raises(RequestError, match="is a tensor"):
        Bench(Shelf({}), [spec(features=("mean",))], tensor).decode([], [])
    scalar = Signature((Feature("mean"),), (ModelInput("x", ("mean",)),), Task.REGRESSION, "y")
    with pytest.raises(RequestError, match="every feature of the model comes from the online store"):
        Bench(Shelf({}), [spec(features=("mean",))], scalar).decode([], [])


@pytest.mark.parametrize("extra_fields", ExtraFields)
def test_a_row_that_had_nothing_but_its_key_can_be_made_again(extra_fields: ExtraFields) -> None:
    inputs = (ModelInput("x", ("mean",)),)
    signature = Signature((Feature("mean"),), inputs, Task.REGRESSION, "y", extra_fields=extra_fields)
    made = bench({b"oslo": (OSLO, NOW)}, features=("mean",), key_field="station")
    made.signature = signature
    assert made.decode([b'{"station":"oslo"}'], [None]).columns.column("mean").tolist() == [1.5]
    again = EnrichingDecoder(signature, Remembered(signature, {"mean": 1.5}, ["station"]), decoder)
    assert again.decode(record_batch([b'{"station":"oslo"}'])).columns.column("mean").tolist() == [1.5]


def test_a_key_field_beside_features_is_no_extra_field() -> None:
    inputs, strict = (ModelInput("x", ("a", "mean")),), ExtraFields.REJECT
    signature = Signature((Feature("a"), Feature("mean")), inputs, Task.REGRESSION, "y", extra_fields=strict)
    again = EnrichingDecoder(signature, Remembered(signature, {"mean": 1.5}, ["station"]), decoder)
    assert again.decode(record_batch([b'{"a":2,"station":"oslo"}'])).columns.tensors[0].tolist() == [[2, 1.5]]


def test_a_prediction_tells_what_was_fetched_so_that_the_row_can_be_made_again() -> None:
    third = b'{"mean": 0.1, "count": 9007199254740993, "kind": "a\\"%d\\u00e9", "gust": null}'
    names = ("mean", "count", "kind", "gust")
    decoded = bench({b"oslo": (OSLO, NOW), b"rome": (third, NOW)}).decode([b'{"a":1}', b'{"a":2}'], [b"oslo", b"rome"])
    encoder = JsonPredictionEncoder(Identity("rain", "m", 1, "sha256:" + "0" * 64), SIGNATURE, enriched=names)
    outputs = Outputs(np.array([[0.5, 0.5]] * 2, np.float32), np.array([0, 1], np.intp))
    records = record_batch([b'{"a":1}', b'{"a":2}'], keys=[b"oslo", b"rome"])
    predictions = [
        read_prediction(each) for each in encoder.encode(records, decoded, outputs, bins=None, scored_at_ms=1)
    ]
    assert predictions[0]["enriched"] == {"mean": 1.5, "count": 7, "kind": "urban", "gust": None}
    assert predictions[1]["enriched"]["count"] == 9007199254740993
    for index, prediction in enumerate(predictions):
        again = EnrichingDecoder(SIGNATURE, Remembered(SIGNATURE, prediction["enriched"]), decoder)
        repeated = again.decode(records.take(slice(index, index + 1))).columns
        for ours, theirs in zip(decoded.columns.tensors, repeated.tensors, strict=True):
            assert ours[index : index + 1].tolist().__repr__() == theirs.tolist().__repr__()
