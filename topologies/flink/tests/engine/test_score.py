"""The job `score` beside the scorer: the same records, the same model, the same answers."""

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from flink_jobs import Flink
from flink_streams import rows, send, written_down
from scorer_stream import MakeStream, Stream

from millrace.codec.dead_letters import DeadLetter, read_dead_letter
from millrace.codec.reading import read_prediction
from millrace.core.records import Headers

BROKEN = (b"{", b'{"a": 1, "b": 2}', b'{"a": "x", "b": 1, "c": 2}', b'{"a": 1e999, "b": 1, "c": 2}', None)


def arrow_record(count: int) -> bytes:
    """Many rows in one record, as Arrow IPC."""
    values = np.random.default_rng(3).normal(size=(3, count))
    batch = pa.record_batch(list(map(pa.array, values)), names=["a", "b", "c"])
    written = BytesIO()
    with pa.ipc.new_stream(written, batch.schema) as writer:
        writer.write_batch(batch)
    return written.getvalue()


def predictions(stream: Stream, deployment: str) -> list[tuple[int, bytes | None, int, dict[str, Any]]]:
    """Partition, key, timestamp and document of each prediction, without what two deployments must differ in."""
    records = stream.records(f"{deployment}.predictions")
    documents: list[dict[str, Any]] = [dict(read_prediction(value or b"")) for value in records.values]
    for document in documents:
        del document["deployment"], document["scored_at"]
    columns = (records.partitions.tolist(), records.keys, records.timestamps_ms.tolist(), documents)
    return sorted(zip(*columns, strict=True), key=lambda row: json.dumps(row[3], sort_keys=True))


def letters(stream: Stream, deployment: str) -> list[tuple[object, ...]]:
    """What the dead letters tell, but for their deployment and the time."""
    return sorted((story(read_dead_letter(each)) for each in stream.records(f"{deployment}.dlq").headers), key=str)


def story(letter: DeadLetter) -> tuple[object, ...]:
    """What a dead letter tells, but for its deployment and the time."""
    return (
        *(letter.source, letter.reason, letter.message, letter.stage, letter.exception),
        *(letter.circumstances.model, letter.headers),
    )


def ids(count: int) -> Iterator[Headers | None]:
    """Ids of their own for some records."""
    for number in range(count):
        yield [("id", f"event-{number}".encode())] if number % 3 == 0 else None


def test_s24_flink_answers_as_the_scorer_does_to_the_bit(stream: MakeStream, flink: Flink, tmp_path: Path) -> None:
    s = stream(partitions=4)
    values: list[bytes | None] = [*rows(3_000, seed=1), *BROKEN, arrow_record(50)]
    send(s, values, headers=[*ids(len(values) - 1), [("content-type", b"application/vnd.apache.arrow.stream")]])
    with s.running():
        s.wait_for(3_050)
        s.wait_for(len(BROKEN), f"{s.name}.dlq")
    twin = f"{s.name}-flink"
    flink.run("score", "--file", written_down(s, twin, tmp_path), "--until-end", "--parallelism", "2")
    assert len(predictions(s, s.name)) == 3_050
    assert predictions(s, twin) == predictions(s, s.name)
    assert letters(s, twin) == letters(s, s.name)
