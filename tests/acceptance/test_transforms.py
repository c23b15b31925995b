"""One transform for training, live, batch and requests: rows S43 to S45."""

import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tritonclient.http as triton
from gateway_stage import GatewayStage
from scorer_stream import Stream
from tritonclient.utils import InferenceServerException
from weather_rows import ROWS, SEED, WEATHER, WEIGHTS, as_json, by_batch, random_rows, yes_scores

from millrace.client.explaining import Verdict, explain
from millrace.client.models import Models
from millrace.client.transforms import Transforms, fit_transform
from millrace.core.errors import Reason, RequestError
from millrace.core.records import Coordinates
from millrace.kafka.reading import find
from millrace.process.settings import Settings
from millrace.serving.bundle import open_bundle
from millrace.serving.loading import LoadedModel, load
from millrace.serving.manifest import SignatureDocument, TrainingSource
from millrace.serving.rows import columns_from_values
from millrace.serving.shelf import Shelf
from millrace.serving.training import EVENT_ID, EVENT_TIME, LABEL
from millrace.testing.broker import Broker
from millrace.testing.models import linear_bundle
from millrace.transform import Program, Transform, Transformed
from millrace_launcher.adapters.examining import Examiner
from millrace_trainer.adapters.making import make_candidate


@dataclass(frozen=True, slots=True)
class Weather:
    """A deployment whose model was trained with the transform, the rows of its stream, and the transform's version."""

    stream: Stream
    table: pa.Table
    program: Program
    reference: str
    folder: Path

    @property
    def made(self) -> Transformed:
        """What the transform makes of the rows, as a table."""
        return self.program.apply(self.table)

    @property
    def models(self) -> Models:
        return Models(self.stream.broker.kafka, self.stream.settings)


@pytest.fixture
def weather(broker: Broker, tmp_path: Path) -> Weather:
    settings = Settings(home=tmp_path / "home")
    stream = Stream(broker, settings, f"s-{uuid.uuid4().hex[:10]}")
    table = random_rows(ROWS, seed=SEED)
    data, document = tmp_path / "rows.parquet", tmp_path / "weather.json"
    pq.write_table(table, data)
    document.write_text(json.dumps({**WEATHER, "transform": stream.name}))
    program = fit_transform(Transform.load(document), data)
    entry = Transforms(broker.kafka).push(program)
    linear_bundle(tmp_path / "bundle", name=stream.model, weights=WEIGHTS)
    Models(broker.kafka, settings).push(tmp_path / "bundle", transform=entry.reference)
    return Weather(stream, table, program, entry.reference, tmp_path)


@pytest.fixture
def model(weather: Weather) -> Iterator[LoadedModel]:
    with weather.stream.registry() as registry:
        entry, bundle = registry.open(weather.stream.model)
    loaded = load(bundle, version=entry.version)
    yield loaded
    loaded.close()


def live(weather: Weather) -> dict[int, bytes]:
    """Bits of the answer to each row, by a scorer on the broker."""
    stream = weather.stream
    stream.send(as_json(weather.table))
    expected = weather.made
    with stream.running(stream.deployment(transform=weather.reference, batch={"max_records": 700})):
        stream.wait_for(len(expected.source))
        stream.wait_for(len(expected.refused), f"{stream.name}.dlq")
    predictions = stream.predictions()
    assert {each["transform"] for each in predictions} == {weather.program.fingerprint}
    return {each["source"]["offset"]: np.float32(each["outputs"]["scores"]["yes"]).tobytes() for each in predictions}


def by_training(weather: Weather, model: LoadedModel) -> dict[int, bytes]:
    """The same by the model on the rows that a training function is given."""
    module, learned_from = weather.folder / "learning.py", weather.folder / "learned_from.parquet"
    module.write_text(
        "import pyarrow.parquet as pq\n"
        "def train(table, context):\n"
        f"    pq.write_table(table, {str(learned_from)!r})\n"
        f"    return {str(weather.folder / 'again')!r}\n"
    )
    linear_bundle(weather.folder / "again", name=weather.stream.model, weights=WEIGHTS)
    meta = {
        EVENT_ID: pa.array(list(map(str, range(ROWS)))),
        EVENT_TIME: pa.array(np.arange(ROWS)),
        LABEL: pa.array(["yes", "no"] * (ROWS // 2)),
    }
    rows = dict(zip(weather.table.column_names, weather.table.columns, strict=True))
    pq.write_table(pa.table({**meta, **rows}), weather.folder / "train.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(weather.folder))
        make_candidate(task(weather, model))
    assert open_bundle(weather.folder / "candidate").manifest.transform == weather.program.fingerprint
    table = pq.read_table(learned_from)
    features = {name: table.column(name).to_numpy() for name in "abc"}
    scores = yes_scores(model.runtime.infer(columns_from_values(model.bundle.signature, features)))
    ids = map(int, table.column(EVENT_ID).to_pylist())
    return {row: score.tobytes() for row, score in zip(ids, scores, strict=True)}


def task(weather: Weather, model: LoadedModel) -> dict[str, Any]:
    folder = weather.folder
    return {
        "model": weather.stream.model,
        "task": model.signature.task.value,
        "signature": SignatureDocument.of(model.bundle.signature).model_dump_json(),
        "transform": weather.program.transform.document(),
        "training": TrainingSource().model_dump_json(),
        "created_at": datetime.now(UTC).isoformat(),
        "seed": 1,
        "request": {},
        "train": str(folder / "train.parquet"),
        "holdout": str(folder / "train.parquet"),
        "function": "learning:train",
        "scratch": str(folder / "scratch"),
        "bundle": str(folder / "candidate"),
    }


def by_request(weather: Weather, rows: Sequence[int]) -> dict[int, bytes]:
    """The same by a gateway that is asked over HTTP, in requests of various sizes."""
    stage, stream = GatewayStage(weather.stream.broker, weather.stream.settings), weather.stream
    edges = sorted({0, len(rows), *np.random.default_rng(5).integers(0, len(rows), 20).tolist()})
    found: dict[int, bytes] = {}
    with (
        stage.running(stream.deployment(transform=weather.reference)) as client,
        triton.InferenceServerClient(f"127.0.0.1:{stage.rest_port}") as asking,
    ):
        for begin, end in pairwise(edges):
            result = asking.infer(stream.model, tensors(weather.table.take(rows[begin:end])))
            scores = np.ascontiguousarray(result.as_numpy("scores")[:, 1])
            found |= {row: score.tobytes() for row, score in zip(rows[begin:end], scores, strict=True)}
        left_out = min(set(range(ROWS)) - set(rows) - {each.row for each in weather.made.refused})
        with pytest.raises(InferenceServerException, match="a filter of the model's transform leaves it out"):
            asking.infer(stream.model, tensors(weather.table.slice(left_out, 1)))
        inputs = client.get(f"/v2/models/{stream.model}").json()["inputs"]
        assert [each["name"] for each in inputs] == [column["name"] for column in WEATHER["input"]]
    return found


def tensors(table: pa.Table) -> list[triton.InferInput]:
    made = []
    for name, kind in zip(table.column_names, ("FP64", "FP32", "BYTES", "BYTES", "INT64", "INT64"), strict=True):
        column = table.column(name)
        texts = pa.types.is_string(column.type)
        plain = column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
        values = np.array(plain.to_pylist(), object) if texts else plain.to_numpy()
        tensor = triton.InferInput(name, [len(table), 1], kind)
        tensor.set_data_from_numpy(values.reshape(-1, 1))
        made.append(tensor)
    return made


def test_s44_ten_thousand_rows_have_equal_bits_live_in_training_in_batch_and_by_request(
    weather: Weather, model: LoadedModel
) -> None:
    answers = live(weather)
    assert len(answers) > ROWS // 2
    assert by_training(weather, model) == answers
    assert by_batch(model, weather.table) == answers
    assert by_request(weather, sorted(answers)) == answers


def test_s44_a_row_that_cannot_be_transformed_is_a_dead_letter_and_one_that_is_filtered_is_nothing(
    weather: Weather,
) -> None:
    stream = weather.stream
    noon = {"temp_f": 50.0, "wind": 1.0, "rain": "0,5", "sky": "rain", "time": 43_200_000, "sensor": 1}
    bad, filtered, null, good = {**noon, "rain": "much"}, {**noon, "sensor": 3}, {**noon, "sky": None}, noon
    stream.send([json.dumps(each).encode() for each in (bad, filtered, null, good)])
    with stream.running():
        stream.wait_for(1)
    assert [each["source"]["offset"] for each in stream.predictions()] == [3]
    first, second = sorted(stream.dead_letters(), key=lambda letter: letter.source.offset)
    assert (first.source.offset, first.stage, first.reason) == (0, "transform", Reason.WRONG_TYPE)
    assert first.message == "step 4 (to_number): rain has no equal in float64"
    assert (second.source.offset, second.stage) == (2, "decode")
    with stream.running():  # what was left out is committed like the rest: it does not come again
        stream.send([json.dumps(good).encode()])
        stream.wait_for(2)
    assert len(stream.dead_letters()) == 2


def test_s44_a_deployment_that_counts_on_another_transform_is_refused(weather: Weather) -> None:
    stream = weather.stream
    other = Transform.parse({**WEATHER, "transform": stream.name, "steps": WEATHER["steps"][:-1]}, subject="other")
    pushed = Transforms(stream.broker.kafka).push(Program.fit(other, weather.table))
    deployment = stream.deployment(transform=pushed.reference)
    with Examiner(stream.broker.kafka, is_heard=lambda: True) as examiner:  # what `deploy` and `--plan` ask
        [fault] = examiner.faults(deployment)
    error = stream.refuses(deployment)
    assert fault == str(error)
    assert isinstance(error, RequestError)
    assert pushed.fingerprint in error.message
    assert weather.program.fingerprint in error.message
    assert f"trained with {pushed.reference}" in error.remedy


def test_s43_one_version_of_the_transform_is_named_by_the_model_and_live(weather: Weather) -> None:
    stream = weather.stream
    [version] = weather.models.list(stream.model)
    shown = Transforms(stream.broker.kafka).show(weather.reference)
    assert version.entry.transform == shown.fingerprint == weather.program.fingerprint
    stream.send(as_json(weather.table.slice(0, 50)))
    with stream.running(stream.deployment(transform=stream.name)):
        stream.wait_for(len(weather.program.apply(weather.table.slice(0, 50)).source))
    assert {each["transform"] for each in stream.predictions()} == {shown.fingerprint}
    first = min(each["source"]["offset"] for each in stream.predictions())
    record = find(stream.broker.kafka, Coordinates(stream.source, 0, first))
    explained = explain(stream.broker.kafka, Shelf.of(stream.settings), record, stream.deployment())
    assert (explained.verdict, set(explained.features or {})) == (Verdict.EQUAL, set(weather.table.column_names))
    assert weather.models.push(weather.folder / "bundle", transform=weather.reference).entry.version == 1
