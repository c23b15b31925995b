"""Windowed transforms and records for them, late and out of order: what every engine must make the same rows of.

Flink and Faust are each compared with these rows, made here by the implementation over tables, and so with each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa

from millrace.codec.tables import rows_as_json
from millrace.transform import Program, StreamWindows, Transform, WindowedTransform

SEEDS: Final = (5, 6, 10)
"""Of the streams that real engines read: windows that overlap and that do not, one column of a key and two."""

_START_MS: Final = 1_600_000_000_000
_COLUMNS: Final = ("station", "floor", "time", "rain", "count")
_INPUT: Final = [
    {"name": "station", "type": "string"},
    {"name": "floor", "type": "int32"},
    {"name": "time", "type": "timestamp"},
    {"name": "rain", "type": "float64", "nullable": True},
    {"name": "count", "type": "int64"},
]
_AGGREGATES: Final = [
    {"into": "rows", "function": "count"},
    {"into": "total", "function": "sum", "of": "rain"},
    {"into": "mean", "function": "mean", "of": "rain"},
    {"into": "least", "function": "min", "of": "rain"},
    {"into": "most", "function": "max", "of": "count"},
    {"into": "kinds", "function": "distinct", "of": "rain"},
    {"into": "counts", "function": "sum", "of": "count"},
]


@dataclass(frozen=True, slots=True)
class WindowedStream:
    """A transform with a window, and records in the order in which they come."""

    program: Program
    records: Sequence[dict[str, Any]]

    @classmethod
    def of(cls, seed: int, *, count: int = 1_000) -> Self:
        """Windows of a random size, hop and grace; records up to some hops out of order, some without rain."""
        random = np.random.default_rng(seed)
        hop_secs = int(random.choice([600, 3_600]))
        grace_secs = int(random.choice([0, hop_secs // 3, hop_secs]))
        document = _document(
            key=["station", "floor"][: int(random.integers(1, 3))],
            size_secs=hop_secs * int(random.integers(1, 5)),
            hop_secs=hop_secs,
            grace_secs=grace_secs,
        )
        program = Program.of(Transform.parse(document, subject="the test"))
        return cls(program, _records(random, count, hop_ms=hop_secs * 1_000))

    @property
    def keys(self) -> list[bytes]:
        """Keys that bring the records of a window's key to one partition."""
        return [record["station"].encode() for record in self.records]

    def rows(self, *, until_end: bool) -> list[str]:
        """The rows of the windows that the records close, and at their end of all, as JSON; in no order, so sorted."""
        table = pa.table({name: [record[name] for record in self.records] for name in _COLUMNS})
        windows = StreamWindows(WindowedTransform.of(self.program), {})
        emitted = windows.add(table)
        assert emitted.late, "none of the records is late: this stream shows less than it should"
        made = [emitted, windows.close()] if until_end else [emitted]
        return sorted(row.decode() for each in made for row in rows_as_json(each.table))


def _document(**window: object) -> dict[str, Any]:
    return {
        "transform": "hourly",
        "input": _INPUT,
        "steps": [
            {"step": "clip", "columns": ["rain"], "low": -2.0, "high": 2.0},
            {"step": "filter", "where": "is_null(rain) or rain != 2"},
            {"step": "window", "time": "time", "aggregates": _AGGREGATES, **window},
            {"step": "compute", "into": "range", "expression": "most - least"},
        ],
    }


def _records(random: np.random.Generator, count: int, *, hop_ms: int) -> list[dict[str, Any]]:
    """Time goes on by a tenth of a hop a record; most records are out of order, and some are many hops behind."""
    behind = np.where(random.random(count) < 0.05, random.exponential(8 * hop_ms, count), 0)
    times = _START_MS + np.arange(count) * hop_ms / 10 + random.normal(scale=hop_ms / 2, size=count) - behind
    rain = random.normal(size=count)
    return [
        {
            "station": f"k{random.integers(7)}",
            "floor": int(random.integers(2)),
            "time": int(time),
            "rain": None if random.random() < 0.1 else float(value),
            "count": int(random.integers(-5, 5)),
        }
        for time, value in zip(times, rain, strict=True)
    ]
