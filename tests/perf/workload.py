"""What all contestants read, and the model that those who score score with."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from millrace.core.records import OutputBatch
from millrace.kafka.writing import Writer
from millrace.process.settings import KafkaSettings
from millrace.serving.bundle import Bundle
from millrace.testing.models import linear_bundle

FEATURES: Final = tuple(f"f{index:02d}" for index in range(30))

_DISTINCT: Final = 5_000
_AT_ONCE: Final = 50_000


def feature_names(count: int) -> tuple[str, ...]:
    """Names of so many features."""
    return tuple(f"f{index:02d}" for index in range(count))


def bundle(folder: Path, name: str, *, seed: int = 7, features: int = len(FEATURES)) -> Bundle:
    """A logistic regression on so many numbers, with a reference profile."""
    weights = np.random.default_rng(seed).normal(size=features).tolist()
    return linear_bundle(folder, name=name, features=feature_names(features), weights=weights, rows=5_000)


def values(count: int = _DISTINCT) -> Sequence[bytes]:
    """JSON records of 30 numbers, about 400 bytes each."""
    rows = np.random.default_rng(11).normal(size=(count, len(FEATURES))).round(4).tolist()
    return [json.dumps(dict(zip(FEATURES, row, strict=True)), separators=(",", ":")).encode() for row in rows]


def fill(kafka: KafkaSettings, topic: str, records: int) -> None:
    """Write the records to partition 0, with keys."""
    distinct = values()
    with Writer(kafka) as writer:
        for start in range(0, records, _AT_ONCE):
            count = min(_AT_ONCE, records - start)
            piece = [distinct[index % len(distinct)] for index in range(count)]
            keys = [b"%d" % (start + index) for index in range(count)]
            now = np.zeros(count, np.int64)
            writer.write(OutputBatch(topic, np.zeros(count, np.int32), now, keys, piece, None))
        writer.flush()
