"""What an experiment refuses before it asks anybody, and what it hears from the batch scorer."""

import sys
from pathlib import Path

import pytest

from millrace.client import Experiment
from millrace.core.errors import FatalError, RequestError

NOWHERE = "localhost:1"


@pytest.fixture
def experiment() -> Experiment:
    return Experiment("iris", NOWHERE)


def say_instead(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    """Install a batch scorer that does this."""
    program = folder / "millrace-batch"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))


@pytest.mark.parametrize("name", ["iris/1", "iris@champion", "Iris", ""])
def test_an_experiment_is_named_as_a_model(name: str) -> None:
    with pytest.raises(RequestError):
        Experiment(name, NOWHERE)


def test_an_estimator_needs_rows(experiment: Experiment) -> None:
    with pytest.raises(RequestError, match="there is no sample for the dict"):
        experiment.add_model({})


def test_the_batch_scorer_is_asked_of_the_same_cluster(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    say_instead(monkeypatch, tmp_path, 'printf \'{"broker": "%s", "words": "%s"}\' "$MILLRACE_KAFKA__BOOTSTRAP" "$*"')
    assert experiment.batch("iris/1", Path("years"), "scored", keep=["day", "rain"]) == {
        "broker": NOWHERE,
        "words": "run --model iris/1 --input years --output scored --keep day --keep rain --json",
    }


@pytest.mark.parametrize(("code", "error"), [(2, RequestError), (1, FatalError)])
def test_a_batch_that_fails_says_what_the_batch_scorer_said(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, error: type[Exception]
) -> None:
    say_instead(monkeypatch, tmp_path, f"echo 'error: there is no file' >&2; exit {code}")
    with pytest.raises(error, match="did not score years: error: there is no file"):
        experiment.batch("iris/1", "years", "scored")
