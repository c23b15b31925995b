"""Scores a file by batch, as Spark's executors do."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
from elsewhere import serve
from weather_rows import by_batch

from millrace.serving.bundle import open_bundle
from millrace.serving.loading import load


def by_table(bundle: Path, rows: Path) -> dict[str, str]:
    """Of each row of a Parquet file that is scored its number and the bits of its score, in hexadecimal digits."""
    model = load(open_bundle(bundle))
    try:
        found = by_batch(model, pa.parquet.read_table(rows))
    finally:
        model.close()
    return {str(row): score.hex() for row, score in sorted(found.items())}


def _answer(question: Any) -> dict[str, str]:  # noqa: ANN401 - JSON
    return by_table(Path(question["bundle"]), Path(question["rows"]))


if __name__ == "__main__":
    serve(_answer)
