import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss, mean_absolute_error, roc_auc_score

from millrace.core.baseline import area_under_curve, measure_classes, measure_values, wilson
from millrace.core.isotonic import fit_isotonic
from millrace.core.outputs import Outputs

RANDOM = np.random.default_rng(seed=5)


def test_binary_measures_are_those_of_scikit_learn() -> None:
    truth = RANDOM.integers(0, 2, 500)
    second = np.clip(truth * 0.3 + RANDOM.uniform(0, 0.7, 500), 0.01, 0.99).round(2).astype(np.float32)
    outputs = Outputs(np.stack((1 - second, second), axis=1), (second > 0.5).astype(np.intp))
    found = {each.name: each for each in measure_classes(outputs, truth)}
    assert found["accuracy"].value == np.mean((second > 0.5) == truth)
    assert found["log_loss"].value == pytest.approx(log_loss(truth, second), abs=1e-6)
    assert found["brier"].value == pytest.approx(brier_score_loss(truth, second.astype(np.float64)), abs=1e-12)
    assert found["roc_auc"].value == pytest.approx(roc_auc_score(truth, second), abs=1e-12)
    assert all(each.lower < each.value < each.upper for each in found.values())


def test_one_class_alone_has_no_curve() -> None:
    outputs = Outputs(np.array([[0.2, 0.8]] * 5, np.float32), np.ones(5, np.intp))
    assert [each.name for each in measure_classes(outputs, np.ones(5, np.intp))] == ["accuracy", "log_loss", "brier"]


def test_a_certain_mistake_has_a_finite_loss() -> None:
    outputs = Outputs(np.array([[1.0, 0.0]], np.float32), np.zeros(1, np.intp))
    (_, loss, *_) = measure_classes(outputs, np.ones(1, np.intp))
    assert loss.value == pytest.approx(16.118, abs=1e-3)


def test_three_classes_have_accuracy_and_log_loss() -> None:
    scores = RANDOM.dirichlet((1, 1, 1), 100).astype(np.float32)
    outputs = Outputs(scores, scores.argmax(axis=1))
    assert [each.name for each in measure_classes(outputs, RANDOM.integers(0, 3, 100))] == ["accuracy", "log_loss"]


def test_values_are_measured_by_their_errors() -> None:
    truth = RANDOM.normal(size=300)
    predicted = (truth + RANDOM.normal(size=300)).astype(np.float32)
    mae, rmse = measure_values(Outputs(predicted, None), truth)
    assert mae.value == pytest.approx(mean_absolute_error(truth, predicted))
    assert rmse.value == pytest.approx(float(np.sqrt(np.mean((truth - predicted) ** 2))))
    assert rmse.lower < rmse.value < rmse.upper


def test_perfect_scores_have_a_full_area() -> None:
    area = area_under_curve(np.array([0.1, 0.2, 0.8]), np.array([False, False, True]))
    assert (area.value, area.upper) == (1.0, 1.0)


def test_an_interval_of_a_proportion_stays_within_its_bounds() -> None:
    assert wilson(0, 10)[0] == 0.0
    assert 1 - 1e-12 < wilson(10, 10)[1] <= 1.0


def test_isotonic_shares_pool_what_falls() -> None:
    positives, totals = np.array([0, 3, 1, 4, 0]), np.array([4, 4, 4, 4, 0])
    assert fit_isotonic(positives, totals).tolist() == [0.0, 0.5, 0.5, 1.0, 1.0]


def test_isotonic_bins_below_the_first_rows_take_the_first_share() -> None:
    assert fit_isotonic(np.array([0, 1, 0]), np.array([0, 2, 0])).tolist() == [0.5, 0.5, 0.5]
