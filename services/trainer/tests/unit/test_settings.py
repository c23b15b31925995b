from datetime import timedelta
from pathlib import Path

import pytest

from millrace.core.errors import RequestError
from millrace.core.promotion import PromotionPolicy
from millrace_trainer.logic.ledger import IntakePolicy
from millrace_trainer.logic.window import WindowPolicy
from millrace_trainer.settings import Training

MINIMAL = """\
model: weather
source:
  topic: weather.features
labels: weather.labels
function:
  name: rain.training:train
  folders: [., code]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "training.yaml"
    path.write_text(text)
    return path


def test_a_few_lines_are_enough_and_folders_lie_beside_the_document(tmp_path: Path) -> None:
    training = Training.load(write(tmp_path, MINIMAL))
    assert training.function.folders == (tmp_path, tmp_path / "code")
    assert training.deployment().source == training.source


def test_the_defaults_of_the_document_are_those_of_the_rules(tmp_path: Path) -> None:
    training = Training.load(write(tmp_path, MINIMAL))
    assert training.intake_policy == IntakePolicy()
    assert training.window_policy == WindowPolicy()
    assert training.promotion_policy == PromotionPolicy()


def test_durations_are_seconds(tmp_path: Path) -> None:
    training = Training.load(write(tmp_path, MINIMAL + "data:\n  history_secs: 3600\nintake:\n  cooldown_secs: 60\n"))
    assert training.window_policy.history == timedelta(hours=1)
    assert training.intake_policy.cooldown == timedelta(minutes=1)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("data:\n  holdout: 1\n", "data.holdout"),
        ("promotion:\n  aproval: person\n", "promotion.aproval: no such setting"),
        ("promotion:\n  approval: perhaps\n", "promotion.approval"),
        ("seed: 3\n", "seed: no such setting"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, extra: str, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        Training.load(write(tmp_path, MINIMAL + extra))
    assert words in str(caught.value)
