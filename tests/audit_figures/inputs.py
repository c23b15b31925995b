"""Figures of the input-drift detector: bars 7 and 8. Windows are drawn as cell counts, features independent."""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from millrace.core.audit.drift import log_chi2_p, log_e_value
from millrace.core.audit.evidence import DriftDetector

FEATURES: Final = 20
BINS: Final = 10
WINDOW: Final = 1000
_NORMAL: Final = NormalDist()


@dataclass(frozen=True, slots=True)
class Reference:
    """Reference samples of standard normal features in quantile bins: edges, shape (features, 11), and counts."""

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]

    @classmethod
    def draw(cls, rng: np.random.Generator, rows: int) -> "Reference":
        values = np.sort(rng.standard_normal((FEATURES, rows)), axis=1)
        edges = np.concatenate((values[:, np.arange(BINS) * rows // BINS], values[:, -1:]), axis=1)
        counts = np.full((FEATURES, BINS + 2), rows // BINS)
        counts[:, [0, -1]] = 0
        return cls(edges, counts)

    def shares(self, shift: float = 0.0, *, feature: int | None = None) -> NDArray[np.float64]:
        """The true share of each cell when one feature's mean is shifted by so many standard deviations."""
        shifts = np.zeros(FEATURES)
        if feature is not None:
            shifts[feature] = shift
        below = np.vectorize(_NORMAL.cdf)(self.edges - shifts[:, None])
        return np.diff(np.pad(below, ((0, 0), (1, 1)), constant_values=(0.0, 1.0)), axis=1)


def null_alarms_per_1000(
    references: int, windows_each: int = 400, rows: int = 30_000, threshold: float = 1000
) -> float:
    """Bar 7: alarms per 1,000 windows while nothing changes."""
    alarms = 0
    for seed in range(references):
        rng = np.random.default_rng((7, seed))
        reference = Reference.draw(rng, rows)
        shares, state = reference.shares(), DriftDetector(threshold)
        for _ in range(windows_each):
            state = _step(state, reference, rng.multinomial(WINDOW, shares))
            if state.is_alarm:
                alarms, state = alarms + 1, state.reset()
    return 1000 * alarms / (references * windows_each)


def delay_windows(shift: float, repetitions: int, rows: int = 30_000, threshold: float = 1000) -> tuple[float, float]:
    """Bar 8: median windows from the shift of one feature to the alarm, and how often that feature was named first."""
    delays, named = [], 0
    for seed in range(repetitions):
        rng = np.random.default_rng((8, seed))
        reference = Reference.draw(rng, rows)
        shifted = reference.shares(shift, feature=seed % FEATURES)
        state = DriftDetector(threshold)
        for _ in range(10):
            state = _step(state, reference, rng.multinomial(WINDOW, reference.shares()))
        windows = 0
        while (not state.is_alarm and windows < 100) or not windows:
            state, windows = _step(state, reference, rng.multinomial(WINDOW, shifted)), windows + 1
        delays.append(windows)
        named += state.strongest()[0] == str(seed % FEATURES)
    return float(np.median(delays)), named / repetitions


def _step(state: DriftDetector, reference: Reference, counts: NDArray[np.int64]) -> DriftDetector:
    pairs = zip(counts, reference.counts, strict=True)
    return state.step({str(f): log_e_value(log_chi2_p(now, before)) for f, (now, before) in enumerate(pairs)})


def log10_evidence(state: DriftDetector) -> float:
    """The evidence as a power of ten."""
    return state.log_evidence / math.log(10)
