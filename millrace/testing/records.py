"""Record batches and signatures for tests, with the columns that a test does not care about filled in."""

from collections.abc import Sequence
from itertools import repeat

import numpy as np

from millrace.core.records import Headers, RecordBatch
from millrace.core.signature import Feature, ModelInput, Signature, Task


def record_batch(
    values: Sequence[bytes | None],
    *,
    topic: str = "test.features",
    partition: int = 0,
    first_offset: int = 0,
    keys: Sequence[bytes | None] | None = None,
    headers: Sequence[Headers | None] | None = None,
) -> RecordBatch:
    """Consecutive records of one partition; the timestamp of the record with offset o is o + 1 milliseconds."""
    count = len(values)
    offsets = np.arange(first_offset, first_offset + count, dtype=np.int64)
    return RecordBatch(
        topic,
        np.full(count, partition, np.int32),
        offsets,
        offsets + 1,
        keys if keys is not None else list(repeat(None, count)),
        values,
        headers if headers is not None else list(repeat(None, count)),
    )


def binary_signature(*features: Feature) -> Signature:
    """A signature with one input per feature and the classes `no` and `yes`."""
    inputs = tuple(ModelInput(feature.name, (feature.name,)) for feature in features)
    return Signature(features, inputs, Task.BINARY, "scores", classes=("no", "yes"))
