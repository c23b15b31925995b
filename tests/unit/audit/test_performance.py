"""Bars 1 and 5: metrics from counts are those of scikit-learn on the rows."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as sk

from millrace.core.audit.columns import LabelledColumns
from millrace.core.audit.layout import Layout
from millrace.core.audit.pane import Pane, count_labels, count_predictions
from millrace.core.audit.performance import auc, clopper_pearson_upper, measure, wilson
from millrace.core.signature import Task

SEEDS = range(5)


def exactly(value: float) -> object:
    return pytest.approx(value, rel=1e-12, abs=1e-12)


def counted(
    layout: Layout,
    labels: NDArray[np.float64],
    scores: NDArray[np.float64],
    predicted: NDArray[np.int64],
    weights: NDArray[np.float64] | None = None,
) -> Pane:
    """Counted in three parts, as three partitions would."""
    total = Pane.empty(layout)
    for part in range(3):
        rows = slice(part, None, 3)
        count = len(labels[rows])
        groups = np.zeros(count, np.intp)
        columns = LabelledColumns(
            np.ones(count, np.int64),
            predicted[rows],
            labels[rows],
            scores[rows],
            np.zeros(count, np.int64),
            np.ones(count) if weights is None else weights[rows],
        )
        total += count_labels(layout, columns, groups, 1)[0]
        total += count_predictions(layout, scores[rows], np.empty((count, 0), np.uint8), groups, 1)[0]
    return total


def test_weighted_metrics_are_those_of_scikit_learn_and_absent_without_weights() -> None:
    rng = np.random.default_rng(3)
    score, weights = rng.random(3000), rng.gamma(2.0, 3.0, 3000)
    truth = (rng.random(3000) < score).astype(np.int64)
    said = (score > 0.5).astype(np.int64)
    binary = (Layout(Task.BINARY, ("no", "yes")), truth.astype(float), score[:, None], said)
    found = measure(counted(*binary, weights))
    assert found["weighted_accuracy"].value == exactly(sk.accuracy_score(truth, said, sample_weight=weights))
    assert found["accuracy"].value == exactly(sk.accuracy_score(truth, said))
    assert "weighted_accuracy" not in measure(counted(*binary))
    values = rng.normal(5, 2, (3000, 2))
    regression = (Layout(Task.REGRESSION, score_upper=10.0, scale=2.0), values[:, 0], values[:, 1:], said)
    mae = sk.mean_absolute_error(values[:, 0], values[:, 1], sample_weight=weights)
    assert measure(counted(*regression, weights))["weighted_mae"].value == exactly(mae)


@pytest.mark.parametrize("seed", SEEDS)
def test_bar_1_binary_metrics_are_those_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    score = rng.beta(1, 4, 5000)
    truth = (rng.random(5000) < score).astype(np.int64)
    said = (score > 0.5).astype(np.int64)
    found = measure(counted(Layout(Task.BINARY, ("no", "yes")), truth.astype(float), score[:, None], said))
    assert found["accuracy"].value == exactly(sk.accuracy_score(truth, said))
    assert found["error_rate"].value == exactly(sk.zero_one_loss(truth, said))
    assert found["precision"].value == exactly(sk.precision_score(truth, said))
    assert found["recall"].value == exactly(sk.recall_score(truth, said))
    assert found["f1"].value == exactly(sk.f1_score(truth, said))
    assert found["log_loss"].value == exactly(sk.log_loss(truth, score))
    assert found["brier"].value == exactly(sk.brier_score_loss(truth, score))
    area = found["roc_auc"]
    assert abs(area.value - sk.roc_auc_score(truth, score)) <= area.error_bound + 1e-12
    assert area.lo is not None
    assert area.hi is not None
    assert area.lo < area.value < area.hi
    assert area.n == 5000


@pytest.mark.parametrize("seed", SEEDS)
def test_bar_1_multiclass_metrics_are_those_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet((2, 1, 0.5, 0.5), 4000)
    truth = np.array([rng.choice(4, p=row) for row in scores])
    said = scores.argmax(axis=1)
    found = measure(counted(Layout(Task.MULTICLASS, ("a", "b", "c", "d")), truth.astype(float), scores, said))
    assert found["accuracy"].value == exactly(sk.accuracy_score(truth, said))
    for name, score in (("precision", sk.precision_score), ("recall", sk.recall_score), ("f1", sk.f1_score)):
        assert found[f"{name}_macro"].value == exactly(score(truth, said, average="macro"))
    assert found["log_loss"].value == exactly(sk.log_loss(truth, scores))
    assert found["brier"].value == exactly(sk.brier_score_loss(truth, scores))
    area = found["roc_auc_ovr"]
    assert abs(area.value - sk.roc_auc_score(truth, scores, multi_class="ovr")) <= area.error_bound + 1e-12


@pytest.mark.parametrize("seed", SEEDS)
def test_bar_1_regression_metrics_are_those_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.normal(1e5, 300.0, 3000)
    value = truth + rng.normal(5.0, 100.0, 3000)
    layout = Layout(Task.REGRESSION, score_lower=9e4, score_upper=1.1e5, centre=1e5, scale=256.0)
    found = measure(counted(layout, truth, value[:, None], np.zeros(3000, np.int64)))
    assert found["mae"].value == pytest.approx(sk.mean_absolute_error(truth, value), rel=1e-12)
    assert found["mse"].value == pytest.approx(sk.mean_squared_error(truth, value), rel=1e-12)
    assert found["rmse"].value == pytest.approx(sk.root_mean_squared_error(truth, value), rel=1e-12)
    assert found["r2"].value == exactly(sk.r2_score(truth, value))
    assert found["bias"].value == pytest.approx(float((value - truth).mean()), abs=1e-9)


def test_what_is_not_defined_is_left_out() -> None:
    layout = Layout(Task.BINARY, ("no", "yes"))
    assert measure(Pane.empty(layout)) == {}
    found = measure(counted(layout, np.zeros(4), np.full((4, 1), 0.1), np.zeros(4, np.int64)))
    assert "roc_auc" not in found
    assert "precision" not in found
    assert found["accuracy"].value == 1.0


def test_bar_5_the_error_of_a_binned_auc_is_within_its_bound() -> None:
    """Random scores, 5 % positives: always within the bound, and within 1e-3 with 1,000 bins."""
    for seed in range(50):
        rng = np.random.default_rng(seed)
        truth = rng.random(4000) < 0.05
        score = rng.random(4000)
        bins = (score * 1000).astype(int)
        value, bound = auc(np.bincount(bins[truth], minlength=1000), np.bincount(bins[~truth], minlength=1000))
        error = abs(value - sk.roc_auc_score(truth, score))
        assert error <= bound + 1e-12
        assert error <= 1e-3


def test_intervals_cover_what_they_say() -> None:
    rng = np.random.default_rng(3)
    successes = rng.binomial(400, 0.1, 2000).tolist()
    ends = [wilson(k, 400) for k in successes]
    assert np.mean([lo <= 0.1 <= hi for lo, hi in ends]) == pytest.approx(0.95, abs=0.02)
    upper = {k: clopper_pearson_upper(k, 400) for k in set(successes)}
    assert np.mean([upper[k] >= 0.1 for k in successes]) >= 0.95
    assert clopper_pearson_upper(7, 7) == 1.0


def test_the_interval_of_the_auc_covers_what_it_says() -> None:
    covered = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        truth = (rng.random(600) < 0.3).astype(np.int64)
        score = 1 / (1 + np.exp(-(rng.normal(0, 1, 600) + truth)))  # two normals one deviation apart
        layout = Layout(Task.BINARY, ("no", "yes"))
        area = measure(counted(layout, truth.astype(float), score[:, None], truth))["roc_auc"]
        assert area.lo is not None
        assert area.hi is not None
        covered.append(area.lo <= 0.7602499389065233 <= area.hi)
    assert 0.92 <= np.mean(covered) <= 0.99
