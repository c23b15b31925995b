"""What can be said of the peers' bench without running it."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from millrace.core.errors import FatalError
from tests.perf.peers import peers
from tests.perf.peers.peers import PEERS, Who
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
