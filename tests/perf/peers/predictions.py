"""Whether what was written is what ONNX Runtime says of the same records."""

import json
import math
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from millrace.core.errors import FatalError
from millrace.kafka.reading import Reader
from millrace.process.settings import KafkaSettings

LOOKED_AT: Final = 20_000
TOLERANCE: Final = 1e-5
"""Floats are written with as many digits as each writer thinks fit."""


def expected(model: Path, rows: NDArray[np.float64]) -> NDArray[np.float32]:
    """The score of each of the rows."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    [model_input], model_output = session.get_inputs(), session.get_outputs()[-1]
    scores: NDArray[np.float32] = session.run([model_output.name], {model_input.name: rows.astype(np.float32)})[0]
    return scores.reshape(len(rows), -1)[:, -1]


def check(kafka: KafkaSettings, topic: str, scores: NDArray[np.float32]) -> float:
    """Compare the first predictions of a topic with the scores of their records, which their keys tell.

    Returns:
        The largest difference.

    Raises:
        FatalError: One is not within the tolerance, or there is none.
    """
    with Reader(kafka, topic) as reader:
        written = (pair for batch in reader.batches() for pair in zip(batch.keys, batch.values, strict=True))
        return largest_difference(islice(written, LOOKED_AT), scores, topic=topic)


def largest_difference(
    written: Iterable[tuple[bytes | None, bytes | None]], scores: NDArray[np.float32], *, topic: str
) -> float:
    """Compare keys and values of a topic with the scores, as `check` does."""
    found = [
        abs(score_of(json.loads(value or b"{}")) - float(scores[int(key or b"") % len(scores)]))
        for key, value in written
    ]
    worst = float(np.max(found)) if found else math.nan
    if not worst <= TOLERANCE:  # NaN is refused, too
        raise FatalError(f"predictions of {topic} differ from ONNX Runtime's by {worst}", remedy="compare by hand")
    return worst


def score_of(document: dict[str, Any]) -> float:
    """The score in a prediction of millrace, of MLServer, or of any other."""
    match document:
        case {"score": score}:
            return float(score)
        case {"outputs": [{"data": [*_, score]}]}:
            return float(score)
        case {"outputs": {"scores": scores}}:
            return float(list(scores.values())[-1])
        case _:
            raise FatalError(f"there is no score in {document}", remedy="teach score_of where it is")
