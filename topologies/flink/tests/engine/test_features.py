"""The job `features` beside the transform over a table: the same rows, whatever came late or out of order."""

import json
from pathlib import Path
from typing import Any

from flink_jobs import Flink
from flink_streams import send
from scorer_stream import MakeStream, Stream
from windowed_stream import PROGRAM, in_order, readings, rows_of_a_table


def rows_of_the_topic(stream: Stream, topic: str) -> list[dict[str, Any]]:
    return [json.loads(value or b"") for value in stream.records(topic).values]


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
    assert in_order(rows_of_the_topic(s, topic)) == in_order(rows_of_a_table(records, until_end=True))
    assert len(s.records(f"{topic}.dlq")) == 2
