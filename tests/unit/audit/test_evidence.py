"""The detectors: what they hold, and that their false alarms are as stated (bars 9 and 10, small)."""

import math

import numpy as np
import pytest

from millrace.core.audit.evidence import NO_EVIDENCE, DriftDetector, ErrorDetector, LossDetector
from millrace.core.errors import RequestError
from tests.audit_figures.inputs import delay_windows, null_alarms_per_1000
from tests.audit_figures.labels import delay_events, null_alarm_share


def test_the_sum_in_logarithms_is_the_sum() -> None:
    detector, plain = ErrorDetector(0.1, 1e4), np.zeros(5)
    alternatives = np.array(detector.alternatives)
    for errors, labelled in ((12, 100), (9, 90), (30, 100)):
        ratio = (alternatives / 0.1) ** errors * ((1 - alternatives) / 0.9) ** (labelled - errors)
        plain = (plain + 1) * ratio
        detector = detector.step(errors, labelled)
    assert math.exp(detector.log_evidence) == pytest.approx(plain.mean(), rel=1e-10)


def test_a_pane_without_labels_is_no_step() -> None:
    detector = ErrorDetector(0.1, 1e4).step(20, 100)
    assert detector.step(0, 0) == detector


def test_a_reset_forgets() -> None:
    detector = ErrorDetector(0.1, 10).step(90, 100)
    assert detector.is_alarm
    assert detector.reset() == ErrorDetector(0.1, 10)
    assert detector.reset().log_evidence == NO_EVIDENCE


@pytest.mark.parametrize("baseline", [0.3, 0.7, 0.9, 0.99])
def test_a_bad_baseline_still_has_alternatives(baseline: float) -> None:
    detector = ErrorDetector(baseline, 100)
    assert all(baseline < rate < 1 for rate in detector.alternatives)
    assert detector.step(100, 100).log_evidence > 0


@pytest.mark.parametrize(("baseline", "threshold"), [(0.0, 10), (1.0, 10), (0.1, 0.5)])
def test_what_cannot_be_watched_is_refused(baseline: float, threshold: float) -> None:
    with pytest.raises(RequestError, match="detector"):
        ErrorDetector(baseline, threshold)


def test_bar_9_null_streams_alarm_as_rarely_as_stated() -> None:
    """The bound is 2 %."""
    assert null_alarm_share(100) <= 0.04


def test_bar_10_a_worse_error_rate_is_found_soon() -> None:
    assert delay_events(0.15, 60) <= 1000


def test_bars_7_and_8_drifting_inputs_are_found_and_null_windows_are_not() -> None:
    assert null_alarms_per_1000(2, windows_each=250) <= 4
    median, named = delay_windows(0.2, 10)
    assert median <= 3
    assert named >= 0.9
    assert delay_windows(2.0, 3) == (1.0, 1.0)


def test_a_bounded_loss_is_watched_without_knowing_its_distribution() -> None:
    losses = np.linspace(0, 1, 11)
    rng = np.random.default_rng(6)
    share = rng.dirichlet(np.ones(11))
    baseline = float(share @ losses)
    alarms = 0
    for _ in range(50):
        detector = LossDetector(baseline, 1e4)
        for _ in range(100):
            detector = detector.step(rng.multinomial(100, share), losses)
        alarms += detector.is_alarm
    assert alarms <= 2
    worse = (share + np.eye(11)[-1]) / 2
    detector = LossDetector(baseline, 1e4)
    for _ in range(5):
        detector = detector.step(rng.multinomial(100, worse), losses)
    assert detector.is_alarm


def test_drift_evidence_is_the_mean_over_features() -> None:
    detector = DriftDetector(100).step({"a": math.log(8), "b": math.log(2)}).step({"a": 0.0, "b": 0.0})
    assert math.exp(detector.log_evidence) == pytest.approx((9 + 3) / 2)
    assert detector.strongest() == ["a", "b"]
