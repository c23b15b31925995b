"""Files of features in every format, and what one process makes of them."""

import json
from pathlib import Path
from typing import Any, Final

import fastavro
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.orc
import pyarrow.parquet

from millrace.codec.tables import decode_table
from millrace.serving.bundle import Bundle
from millrace.serving.loading import load
from millrace_batch.logic.job import Job

FEATURES: Final = ("a", "b", "c")


def rows(count: int, *, seed: int = 7) -> pa.Table:
    """Rows with an id and three features."""
    random = np.random.default_rng(seed)
    features = {name: random.normal(size=count).astype(np.float32) for name in FEATURES}
    return pa.table({"id": np.arange(count), **features})


def write(table: pa.Table, path: Path, *, group: int = 1_000) -> Path:
    """Write a table in the format of the path's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    match path.suffix:
        case ".parquet":
            pa.parquet.write_table(table, path, row_group_size=group)
        case ".arrow":
            with pa.ipc.new_file(path, table.schema) as writer:
                writer.write_table(table, max_chunksize=group)
        case ".csv":
            pa.csv.write_csv(table, path)
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
        case ".orc":
            pa.orc.write_table(table, path)
        case _:
            kinds = {pa.int64(): "long", pa.float32(): "float"}
            fields = [{"name": field.name, "type": kinds[field.type]} for field in table.schema]
            with path.open("wb") as file:
                fastavro.writer(file, {"type": "record", "name": "row", "fields": fields}, table.to_pylist())
    return path


def read_output(folder: Path, *, by: str = "id") -> pa.Table:
    """The published predictions, in the order of a column, as anybody would read them."""
    return pa.dataset.dataset(folder, format="parquet").to_table().sort_by(by)


def scored_alone(bundle: Bundle, table: pa.Table) -> tuple[list[str], np.ndarray[Any, np.dtype[np.float32]]]:
    """Labels and scores of one process that scores the whole table at once."""
    model = load(bundle)
    try:
        outputs = model.engine.infer(decode_table(table, model.signature).columns).outputs
    finally:
        model.close()
    assert outputs.labels is not None
    return [model.signature.classes[label] for label in outputs.labels], outputs.scores


def job(bundle: Bundle, source: Path, target: Path, **more: Any) -> Job:  # noqa: ANN401 -- fields of a job
    """A job that keeps the id."""
    return Job(input=str(source), output=str(target), digest=bundle.digest, model="linear/1", keep=("id",), **more)
