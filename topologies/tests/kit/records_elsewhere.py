"""Scores the rows of a file as records, by the decoder and the encoder of the scorer, as Flink's tasks do."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from elsewhere import serve
from millrace_flink.functions.scoring import RecordScoring
from weather_rows import as_json

from millrace.codec.dead_letters import Circumstances
from millrace.codec.predictions import Identity
from millrace.codec.reading import read_prediction
from millrace.core.records import RecordBatch
from millrace.process.clock import SystemClock
from millrace.process.deployment import Deployment
from millrace.serving.bundle import open_bundle
from millrace.serving.loading import LoadedModel, load
from millrace.serving.streams import StreamCodec


def by_record(bundle: Path, rows: Path) -> dict[str, str]:
    """Of each row of a Parquet file that is scored its number and the bits of its score, in hexadecimal digits."""
    values = as_json(pa.parquet.read_table(rows))
    model = load(open_bundle(bundle), version=1)
    try:
        found = _scores(model, values)
    finally:
        model.close()
    return {str(row): score.hex() for row, score in sorted(found.items())}


def _scores(model: LoadedModel, values: list[bytes]) -> dict[int, bytes]:
    document = {
        "deployment": "rows",
        "source": {"topic": "rows.features"},
        "model": model.name,
        "slo": {"latency_ms": 1000},
    }
    deployment = Deployment.parse(document, subject="the test")
    identity = Identity("rows", model.name, model.version, model.digest, model.transform)
    circumstances = Circumstances("rows", model.name, "nobody")
    count = len(values)
    zeros, nothing = np.zeros(count, np.int64), [None] * count
    records = RecordBatch(
        "rows.features", zeros.astype(np.int32), np.arange(count), zeros, nothing, values, list(nothing)
    )
    with StreamCodec(deployment, SystemClock()) as codec:
        decoder, encoder = codec.decoder(model.signature), codec.encoder(identity, model.signature)
        verdicts = RecordScoring(decoder, model.engine, encoder, circumstances).score(records, wall_ms=1)
    documents = [read_prediction(value) for values in verdicts.predictions for value in values]
    return {each["source"]["offset"]: np.float32(each["outputs"]["scores"]["yes"]).tobytes() for each in documents}


def _answer(question: Any) -> dict[str, str]:  # noqa: ANN401 - JSON
    return by_record(Path(question["bundle"]), Path(question["rows"]))


if __name__ == "__main__":
    serve(_answer)
