"""Makes the rows of windows by the two ends and the fold that Flink and Faust call, record by record."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from elsewhere import serve

from millrace.core.records import RecordBatch
from millrace.process.deployment import RecordFormat
from millrace.serving.features import FeatureStream
from millrace.transform import Closed, KeyFold, Program, State


def rows_of_records(document: Mapping[str, Any], records: Sequence[Mapping[str, Any]], *, batch: int) -> list[str]:
    """The rows of all windows of a fitted transform, as a topic would have them, in no order.

    Args:
        document: The fitted transform.
        records: In the order of their partition.
        batch: How many are read at a time.
    """
    stream = FeatureStream.of(Program.load(document, subject="the test"), RecordFormat.JSON)
    fold, states, closed = KeyFold(stream.parts.window), dict[str, State](), list[Closed]()
    for start in range(0, len(records), batch):
        read = stream.read(_batch(records[start : start + batch])).readings
        for key, time_ms, values in zip(read.keys, read.times_ms, read.values, strict=True):
            folded = fold.add(states.get(json.dumps(key)), key, time_ms, values)
            states[json.dumps(key)] = json.loads(json.dumps(folded.state))
            closed += folded.closed
    for state in states.values():
        closed += fold.close(state)
    return sorted(value.decode() for value in stream.write(closed).values)


def _batch(records: Sequence[Mapping[str, Any]]) -> RecordBatch:
    count = len(records)
    zeros, nothing = np.zeros(count, np.int64), [None] * count
    values = [json.dumps(record).encode() for record in records]
    return RecordBatch("records", zeros.astype(np.int32), np.arange(count), zeros, nothing, values, list(nothing))


def _answer(question: Any) -> list[str]:  # noqa: ANN401 - JSON
    return rows_of_records(question["transform"], question["records"], batch=question["batch"])


if __name__ == "__main__":
    serve(_answer)
