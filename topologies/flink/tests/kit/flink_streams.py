"""Records for the jobs to read, and documents for them to carry out."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scorer_stream import Stream

from millrace.core.records import Headers, OutputBatch
from millrace.kafka.writing import BY_KEY, Writer
from millrace.process.clock import SystemClock


def rows(count: int, seed: int) -> list[bytes]:
    values = np.random.default_rng(seed).normal(size=(count, 3))
    return [json.dumps({"a": a, "b": b, "c": c}).encode() for a, b, c in values.tolist()]


def send(
    stream: Stream,
    values: Sequence[bytes | None],
    *,
    keys: Sequence[bytes] | None = None,
    headers: Sequence[Headers | None] | None = None,
) -> None:
    """Write records with keys, each to the partition that its key has everywhere."""
    given = keys or [f"k{number % 97}".encode() for number in range(len(values))]
    anywhere, now = np.full(len(values), BY_KEY, np.int32), np.full(len(values), SystemClock().wall_ms(), np.int64)
    with Writer(stream.broker.kafka) as writer:
        writer.write(OutputBatch(stream.source, anywhere, now, given, values, headers))
        writer.flush()


def written_down(stream: Stream, name: str, tmp_path: Path) -> str:
    """A file with a deployment of the same stream and model, under another name."""
    document = stream.deployment().model_dump(mode="json", exclude_defaults=True) | {"deployment": name}
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps(document))
    return str(path)
