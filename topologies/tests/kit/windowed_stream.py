"""One windowed transform and records for it, late and out of order: what every engine must make the same rows of."""

import json
from typing import Any

import numpy as np
import pyarrow as pa

from millrace.codec.tables import rows_as_json
from millrace.transform import Program, StreamWindows, Transform, WindowedTransform

DOCUMENT = {
    "transform": "hourly",
    "input": [
        {"name": "station", "type": "string"},
        {"name": "time", "type": "timestamp"},
        {"name": "rain", "type": "float64", "nullable": True},
    ],
    "steps": [
        {"step": "clip", "columns": ["rain"], "low": -2.0, "high": 2.0},
        {
            "step": "window",
            "key": ["station"],
            "time": "time",
            "size_secs": 7200,
            "hop_secs": 3600,
            "grace_secs": 600,
            "aggregates": [
                {"into": "rows", "function": "count"},
                {"into": "total", "function": "sum", "of": "rain"},
                {"into": "mean", "function": "mean", "of": "rain"},
                {"into": "least", "function": "min", "of": "rain"},
                {"into": "most", "function": "max", "of": "rain"},
                {"into": "kinds", "function": "distinct", "of": "rain"},
            ],
        },
        {"step": "compute", "into": "range", "expression": "most - least"},
    ],
}
PROGRAM = Program.of(Transform.parse(DOCUMENT, subject="the test"))


def readings(count: int, seed: int) -> list[dict[str, Any]]:
    """Records of a few stations, an hour or two out of order at times, some without rain."""
    random = np.random.default_rng(seed)
    times = 1_600_000_000_000 + np.arange(count) * 60_000 + random.normal(scale=3_000_000, size=count).astype(int)
    return [
        {
            "station": f"k{number % 7}",
            "time": int(time),
            "rain": None if number % 11 == 0 else round(float(rain), 3),
        }
        for number, (time, rain) in enumerate(zip(times, random.normal(size=count), strict=True))
    ]


def rows_of_a_table(records: list[dict[str, Any]], *, until_end: bool) -> list[dict[str, Any]]:
    """The rows of the windows that these records close, and at their end of all, by the implementation over columns."""
    columns = {name: [record[name] for record in records] for name in ("station", "time", "rain")}
    windows = StreamWindows(WindowedTransform.of(PROGRAM), {})
    emitted = windows.add(pa.table(columns))
    assert emitted.late
    made = [emitted, windows.close()] if until_end else [emitted]
    return [json.loads(row) for each in made for row in rows_as_json(each.table)]


def in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By key and window."""
    return sorted(rows, key=lambda row: (row["station"], row["window_start"]))
