"""The job `features` beside the transform over a table: the same rows, whatever came late or out of order."""

import json
from pathlib import Path

import pytest
from flink_jobs import Flink
from flink_streams import send
from scorer_stream import MakeStream
from windowed_stream import SEEDS, WindowedStream


@pytest.mark.parametrize("seed", SEEDS)
def test_s24_flink_makes_the_rows_of_the_transform(stream: MakeStream, flink: Flink, tmp_path: Path, seed: int) -> None:
    s, windowed = stream(partitions=3), WindowedStream.of(seed)
    values = [json.dumps(record).encode() for record in windowed.records]
    send(s, [*values, b"{", b'{"station": 1}'], keys=[*windowed.keys, b"k", b"k"])
    path = tmp_path / "hourly.json"
    path.write_text(json.dumps(windowed.program.document()))
    topic = f"{s.name}.hourly"
    what = ("features", "--transform", str(path), "--from", s.source, "--to", topic)
    flink.run(*what, "--until-end", "--parallelism", "2")
    made = sorted((value or b"").decode() for value in s.records(topic).values)
    assert made == windowed.rows(until_end=True)
    assert len(s.records(f"{topic}.dlq")) == 2
