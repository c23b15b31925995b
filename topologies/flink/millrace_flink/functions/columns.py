"""Records as Flink brings them to Python, and headers as it takes them back."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from millrace.core.records import Headers, RecordBatch


def read_columns(topic: str, columns: Sequence["pd.Series[Any]"]) -> RecordBatch:
    """The records of a topic as Flink brings them. Headers lose their order and all but one of equal names there.

    Args:
        topic: The topic of all records.
        columns: Keys and values, bytes or None; partitions, int32; offsets, int64; timestamps, instants to the
            millisecond; of each record's headers the names, and what they hold, both arrays.
    """
    keys, values, partitions, offsets, timestamps, names, contents = columns
    times = timestamps.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy("datetime64[ms]").astype(np.int64)
    headers = [
        None if some is None else [(str(name), content) for name, content in zip(some, held, strict=True)]
        for some, held in zip(names, contents, strict=True)
    ]
    return RecordBatch(
        topic,
        partitions.to_numpy(np.int32),
        offsets.to_numpy(np.int64),
        times,
        keys.tolist(),
        values.tolist(),
        headers,
    )


def header_columns(letters: Sequence[Headers]) -> dict[str, list[list[Any]]]:
    """Headers as two columns of arrays: Flink's own maps do not survive the way between Java and Python."""
    return {
        "names": [[name for name, _ in headers] for headers in letters],
        "contents": [[content for _, content in headers] for headers in letters],
    }
