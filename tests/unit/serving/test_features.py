import json
from typing import Any

import numpy as np

from millrace.core.records import Headers, RecordBatch
from millrace.process.deployment import RecordFormat
from millrace.serving.features import FeatureStream
from millrace.transform import Closed, Program, Transform

HOURLY: dict[str, Any] = {
    "transform": "hourly",
    "input": [{"name": "station", "type": "string"}, {"name": "time", "type": "timestamp"}, {"name": "rain"}],
    "steps": [
        {"step": "clip", "columns": ["rain"], "low": 0.0},
        {
            "step": "window",
            "key": ["station"],
            "time": "time",
            "size_secs": 3600,
            "aggregates": [{"into": "rows", "function": "count"}, {"into": "total", "function": "sum", "of": "rain"}],
        },
        {"step": "compute", "into": "twice", "expression": "total * 2"},
    ],
}


def stream(document: dict[str, object] | None = None) -> FeatureStream:
    return FeatureStream.of(Program.of(Transform.parse(document or HOURLY, subject="the test")), RecordFormat.JSON)


def records(*values: bytes | None) -> RecordBatch:
    count, none = len(values), list[Headers | None]([None] * len(values))
    numbers = np.arange(count)
    keys = list[bytes | None]([None] * count)
    return RecordBatch(
        "t", numbers.astype(np.int32) * 0, numbers.astype(np.int64), numbers.astype(np.int64), keys, values, none
    )


def test_a_record_becomes_what_the_window_must_know() -> None:
    read = stream().read(
        records(b'{"station": "A", "time": 1000, "rain": -2.5}', b'{"station": "B", "time": 5, "rain": 1}')
    )
    assert read.readings.keys == [["A"], ["B"]]
    assert read.readings.times_ms == [1000, 5]
    assert read.readings.values == [(None, 0.0), (None, 1.0)]


def test_what_cannot_be_read_says_why_and_its_neighbours_are_read() -> None:
    read = stream().read(
        records(b"{", b'{"station": "A", "time": 1, "rain": 1}', None, b'{"station": "A", "time": 1, "rain": NaN}')
    )
    assert [rejection.row for rejection in read.decode] == [0, 2]
    assert [rejection.row for rejection in read.transform] == [3]
    assert len(read.readings.keys) == 1


def test_a_closed_window_becomes_a_record_at_its_end() -> None:
    made = stream().write([Closed(["A"], 7_200_000, [2, 1.5])])
    assert made.keys == [b"A"]
    assert made.timestamps_ms == [10_800_000]
    assert json.loads(made.values[0]) == {
        "station": "A",
        "window_start": 7_200_000,
        "window_end": 10_800_000,
        "rows": 2,
        "total": 1.5,
        "twice": 3.0,
    }


def test_a_key_of_several_columns_is_a_json_array() -> None:
    window = {**HOURLY["steps"][1], "key": ["station", "time"]}
    made = stream({**HOURLY, "steps": [window]}).write([Closed(["A", 5], 0, [1, 2.5])])
    assert made.keys == [b'["A",5]']
