"""What can be said of the peers' bench without running it."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from millrace.core.errors import FatalError, RequestError
from tests.perf.peers import peers
from tests.perf.peers.cells import MATRIX, MODELS, Cell
from tests.perf.peers.peers import PEERS, Who, may_score
from tests.perf.peers.predictions import largest_difference, score_of

SCORES = np.array([0.25, 0.75], np.float32)
PINNED = re.compile(r"[a-zA-Z0-9._-]+==\S+")


def test_everybody_is_described() -> None:
    assert list(PEERS) == list(Who)


@pytest.mark.parametrize("name", ["bytewax", "faust", "mlserver", "quix"])
def test_an_environment_is_pinned(name: str) -> None:
    lines = (Path(peers.HERE) / name / "environment.txt").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#") and not PINNED.fullmatch(line)] == []
    assert any(line.startswith("onnxruntime==") for line in lines)


@pytest.mark.parametrize(
    "document",
    [
        {"score": 0.5},
        {"outputs": {"label": "yes", "scores": {"no": 0.1, "yes": 0.5}}},
        {"outputs": [{"name": "score", "data": [0.5]}]},
    ],
)
def test_the_score_of_every_form_is_found(document: dict[str, object]) -> None:
    assert score_of(document) == 0.5


def test_equal_predictions_pass_and_the_key_tells_their_record() -> None:
    written = [(b"1", b'{"score": 0.75}'), (b"2", b'{"score": 0.250001}')]
    assert largest_difference(written, SCORES, topic="t") == pytest.approx(1e-6)


@pytest.mark.parametrize("score", [0.2501, float("nan")])
def test_another_prediction_is_refused(score: float) -> None:
    written = [(b"1", b'{"score": 0.75}'), (b"0", json.dumps({"score": score}).encode())]
    with pytest.raises(FatalError, match="predictions of t differ"):
        largest_difference(written, SCORES, topic="t")


def test_no_prediction_at_all_is_refused() -> None:
    with pytest.raises(FatalError, match="predictions of t differ"):
        largest_difference([], SCORES, topic="t")


@pytest.mark.parametrize("name", MATRIX)
def test_a_cell_is_called_what_it_is_asked_for(name: str) -> None:
    assert str(Cell.named(name)) == name


@pytest.mark.parametrize("name", ["forest-30", "linear", "ffnn-30", ""])
def test_a_cell_that_there_is_not_is_refused(name: str) -> None:
    with pytest.raises(RequestError, match="there is no cell"):
        Cell.named(name)


@pytest.mark.parametrize("name", ["linear-4", "mlp-300", "ffnn"])
def test_records_are_what_the_models_read(name: str, tmp_path: Path) -> None:
    cell = Cell.named(name)
    features = cell.bundle(tmp_path / "bundle", "perf").signature.features
    document = json.loads(cell.values[-1])
    assert list(document) == [feature.name for feature in features]
    assert [np.shape(value) for value in document.values()] == [feature.shape for feature in features]
    assert len(cell.values) == len(cell.rows) == MODELS[cell.model].distinct


def test_who_knows_only_thirty_numbers_is_not_asked_for_others() -> None:
    assert [who for who in Who if not may_score(who, Cell.named("linear-30"))] == []
    assert {Who.NATIVE, Who.JAVA_WHOLE} <= {who for who in Who if may_score(who, Cell.named("linear-300/8"))}
    assert {who for who in Who if may_score(who, Cell.named("resnet50"))} == {Who.RELAY, Who.NATIVE, Who.SCORER}
