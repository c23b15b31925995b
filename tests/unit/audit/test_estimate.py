"""Bar 2: performance estimated from counts is that of the same formula on the rows."""

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from millrace.core.audit.estimate import estimate
from millrace.core.errors import RequestError
from millrace.core.isotonic import fit_isotonic
from millrace.core.profile import SCORE_BINS


def calibration(seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    rng = np.random.default_rng(seed)
    score = rng.random(20_000)
    bins = (score * SCORE_BINS).astype(int)
    truth = rng.random(20_000) < score**2
    return fit_isotonic(np.bincount(bins, truth, SCORE_BINS), np.bincount(bins, minlength=SCORE_BINS))


def test_the_calibration_is_scikit_learns() -> None:
    rng = np.random.default_rng(1)
    score = rng.random(5000)
    bins = (score * SCORE_BINS).astype(int)
    truth = rng.random(5000) < score
    ours = fit_isotonic(np.bincount(bins, truth, SCORE_BINS), np.bincount(bins, minlength=SCORE_BINS))
    theirs = IsotonicRegression(y_min=0, y_max=1).fit_transform(bins, truth.astype(float))
    assert np.abs(ours[bins] - theirs).max() <= 1e-12


@pytest.mark.parametrize("seed", range(5))
def test_bar_2_counts_give_what_rows_give(seed: int) -> None:
    rng = np.random.default_rng(seed)
    isotonic = calibration(seed)
    score = rng.beta(2, 3, 3000)
    bins = (score * SCORE_BINS).astype(int)
    p, said = isotonic[bins], score >= 0.5
    found = estimate(np.bincount(bins, minlength=SCORE_BINS), isotonic)
    hit, false, missed = p[said].sum(), (1 - p)[said].sum(), p[~said].sum()
    assert found["accuracy"].value == pytest.approx(np.where(said, p, 1 - p).mean(), abs=1e-12)
    assert found["precision"].value == pytest.approx(hit / (hit + false), abs=1e-12)
    assert found["recall"].value == pytest.approx(hit / (hit + missed), abs=1e-12)
    assert found["f1"].value == pytest.approx(2 * hit / (2 * hit + false + missed), abs=1e-12)
    # Every pair of rows: the chance that the first is positive and the second negative, times how they are ranked.
    ranked = (bins[:, None] > bins[None, :]) + 0.5 * (bins[:, None] == bins[None, :])
    area = (p[:, None] * (1 - p)[None, :] * ranked).sum() / p.sum() / (1 - p).sum()
    assert found["roc_auc"].value == pytest.approx(area, abs=1e-6)


def test_an_estimate_is_near_the_truth_while_the_calibration_holds() -> None:
    rng = np.random.default_rng(7)
    score = rng.beta(2, 5, 50_000)
    truth = rng.random(50_000) < score**2
    found = estimate(np.bincount((score * SCORE_BINS).astype(int), minlength=SCORE_BINS), calibration(7))
    assert found["accuracy"].value == pytest.approx((truth == (score >= 0.5)).mean(), abs=0.01)


def test_nothing_is_estimated_of_nothing() -> None:
    assert estimate(np.zeros(SCORE_BINS, np.int64), calibration(1)) == {}
    with pytest.raises(RequestError, match="calibration"):
        estimate(np.zeros(10, np.int64), calibration(1))
