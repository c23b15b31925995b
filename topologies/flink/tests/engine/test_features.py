"""The job `features` beside the transform over a table: the same rows, whatever came late or out of order."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from flink_jobs import Flink
from flink_streams import send
from scorer_stream import MakeStream, Stream

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


def rows_of_a_table(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The windows of all records, by the implementation over columns."""
    columns = {name: [record[name] for record in records] for name in ("station", "time", "rain")}
    windows = StreamWindows(WindowedTransform.of(PROGRAM), {})
    emitted = windows.add(pa.table(columns))
    assert emitted.late
    return [json.loads(row) for made in (emitted, windows.close()) for row in rows_as_json(made.table)]


def rows_of_the_topic(stream: Stream, topic: str) -> list[dict[str, Any]]:
    return [json.loads(value or b"") for value in stream.records(topic).values]


def in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: (row["station"], row["window_start"]))


def test_s24_flink_makes_the_rows_of_the_transform(stream: MakeStream, flink: Flink, tmp_path: Path) -> None:
    s = stream(partitions=3)
    records = readings(2_000, seed=5)
    values = [json.dumps(record).encode() for record in records]
    send(s, [*values, b"{", b'{"station": 1}'], keys=[*(record["station"].encode() for record in records), b"k", b"k"])
    path = tmp_path / "hourly.json"
    path.write_text(json.dumps(PROGRAM.document()))
    topic = f"{s.name}.hourly"
    what = ("features", "--transform", str(path), "--from", s.source, "--to", topic)
    flink.run(*what, "--until-end", "--parallelism", "2")
    assert in_order(rows_of_the_topic(s, topic)) == in_order(rows_of_a_table(records))
    assert len(s.records(f"{topic}.dlq")) == 2
