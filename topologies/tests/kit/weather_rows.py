"""Ten thousand rows and a transform of more than a dozen steps, to which every way gives the same answers.

The pivot is `by_batch`: the scorer, training, requests, Spark and Flink are each compared with it, on these rows.
"""

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from millrace.core.outputs import Outputs
from millrace.serving.bundle import Bundle, attach_transform
from millrace.serving.loading import LoadedModel
from millrace.testing.models import linear_bundle
from millrace.transform import Program, Transform
from millrace_batch.adapters.reading import Piece
from millrace_batch.adapters.scoring import TableScoring

ROWS: Final = 10_000
SEED: Final = 44
WEIGHTS: Final = (1, -1, 0.5)

WEATHER: Final[dict[str, Any]] = {
    "transform": "weather",
    "input": [
        {"name": "temp_f", "type": "float64", "nullable": True},
        {"name": "wind", "type": "float32", "nullable": True},
        {"name": "rain", "type": "string"},
        {"name": "sky", "type": "string"},
        {"name": "time", "type": "timestamp"},
        {"name": "sensor", "type": "int64"},
    ],
    "steps": [
        {"step": "compute", "into": "temp", "expression": "(temp_f - 32) / 1.8"},
        {"step": "fill", "columns": ["temp"], "learn_value": "mean"},
        {"step": "clip", "columns": ["temp"], "quantiles": [0.01, 0.99]},
        {"step": "to_number", "columns": ["rain"], "decimal": ",", "missing": ["", "-"]},
        {"step": "fill", "columns": ["rain", "wind"], "value": 0.0},
        {"step": "date_parts", "column": "time", "parts": ["hour", "day_of_year"], "timezone": "Europe/Berlin"},
        {"step": "compute", "into": "season", "expression": "cos(time_day_of_year / 58.1) + exp(-wind * wind / 100)"},
        {"step": "one_hot", "column": "sky", "most": 5},
        {"step": "bucket", "column": "temp", "into": "warmth", "quantiles": 5},
        {"step": "scale", "columns": ["temp", "wind", "rain"], "by": "standard"},
        {"step": "filter", "where": "sensor != 3 or time_hour < 12"},
        {"step": "compute", "into": "a", "expression": "temp * season + sky_clear"},
        {"step": "compute", "into": "b", "expression": "log1p(abs(rain)) - warmth / 5"},
        {"step": "compute", "into": "c", "expression": "wind / (1 + time_hour)"},
        {"step": "cast", "columns": {"a": "float32"}},
    ],
    "output": [{"name": "a", "type": "float32"}, {"name": "b"}, {"name": "c", "nullable": True}],
}
"""A document of more than a dozen steps, some of which learn, leave rows out, or refuse them."""


def random_rows(count: int, *, seed: int) -> pa.Table:
    """Rows such as weather stations send: some values are missing, some cannot be read."""
    random = np.random.default_rng(seed)
    temp = np.where(random.random(count) < 0.1, np.nan, random.normal(60, 25, count))
    wind = np.where(random.random(count) < 0.1, np.nan, random.gamma(2, 3, count)).astype(np.float32)
    rain = np.array([f"{value:.2f}".replace(".", ",") for value in random.gamma(0.5, 4, count)], object)
    rain[random.random(count) < 0.1] = "-"
    rain[random.random(count) < 0.02] = "much"
    return pa.table(
        {
            "temp_f": pa.array(temp, from_pandas=True),
            "wind": pa.array(wind, from_pandas=True),
            "rain": pa.array(rain.tolist(), pa.string()),
            "sky": pa.array(random.choice(["clear", "rain", "fog", "snow", ""], count).tolist(), pa.string()),
            "time": pa.array(random.integers(0, 2**41, count), pa.int64()).cast(pa.timestamp("ms")),
            "sensor": pa.array(random.integers(-5, 6, count)),
        }
    )


def as_json(table: pa.Table) -> list[bytes]:
    plain = table.set_column(table.schema.get_field_index("time"), "time", table.column("time").cast(pa.int64()))
    return [json.dumps(row).encode() for row in plain.to_pylist()]


def weather_bundle(folder: Path, table: pa.Table, *, name: str = "weather") -> Bundle:
    """A model that was trained with the transform, which has learnt from the table."""
    transform = Transform.parse({**WEATHER, "transform": name}, subject="the test")
    return attach_transform(linear_bundle(folder, name=name, weights=WEIGHTS), Program.fit(transform, table))


def yes_scores(outputs: Outputs) -> NDArray[np.float32]:
    """The score of the class that is predicted, of each row."""
    return np.ascontiguousarray(outputs.scores[:, 1])


def by_batch(model: LoadedModel, table: pa.Table) -> dict[int, bytes]:
    """Bits of the answer to each row that has one, by the batch scorer, a third of the table at a time."""
    scoring = TableScoring(model, None, ())
    found: dict[int, bytes] = {}
    step = max(1, len(table) // 3)
    for start in range(0, len(table), step):
        piece = table.slice(start, step)
        scored = scoring.score(Piece(piece, np.arange(start, start + len(piece)), len(piece)), path="rows")
        if scored.table is not None:
            found |= bits_of(scored.table)
    return found


def bits_of(predictions: pa.Table) -> dict[int, bytes]:
    """Bits of the answer to each row of a table of predictions, as the batch scorer writes it."""
    rows, scores = predictions.column("source_row").to_pylist(), predictions.column("score_yes").to_numpy()
    return {row: score.tobytes() for row, score in zip(rows, scores, strict=True)}
