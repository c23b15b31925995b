"""E-detectors: evidence that something has changed, with a stated rate of false alarms.

All are Shiryaev-Roberts sums of e-values (Shin, Ramdas and Rinaldo, 2024, "E-detectors", New Engl. J. Stat. Data Sci.):
M <- (M + 1) e, where the mean of e given the past is at most 1 while nothing has changed. An alarm at M >= c then has a
mean run length of at least c steps, and the chance of one within n steps is at most n / c. A mean of e-detectors is an
e-detector, whatever the dependence between them.

A step is a pane, not an event: the order inside a pane does not matter, panes of partitions merge, replay is exact.
Everything is in logarithms, so that no evidence is too large to hold.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from millrace.core.audit.special import log_add, log_mean
from millrace.core.errors import RequestError

NO_EVIDENCE: Final = -math.inf

RATIOS: Final = (1.2, 1.5, 2.0, 3.0, 5.0)
"""Alternatives to the baseline error rate: the degradations that the detector is sharpest for."""

BETS: Final = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Stakes of the betting form, as shares of the largest stake that cannot lose everything."""


@dataclass(frozen=True, slots=True)
class ErrorDetector:
    """Watches the error rate of labelled panes against a baseline.

    Attributes:
        baseline: The error rate while nothing has changed, best the upper confidence limit of the reference's: an
            estimate that is too low makes every stream look degraded.
        threshold_steps: c: an alarm each c panes on average, at the most, while nothing has changed.
        log_sums: The state: one logarithm per alternative.
    """

    baseline: float
    threshold_steps: float
    log_sums: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        _check(self.baseline, self.threshold_steps)
        if not self.log_sums:
            object.__setattr__(self, "log_sums", (NO_EVIDENCE,) * len(self.alternatives))

    @property
    def alternatives(self) -> tuple[float, ...]:
        """Error rates that are worse than the baseline; half way to 1 where the baseline leaves no room for a ratio."""
        rates = tuple(self.baseline * ratio for ratio in RATIOS if self.baseline * ratio < 1.0)
        return rates or ((1.0 + self.baseline) / 2.0,)

    @property
    def log_evidence(self) -> float:
        """Logarithm of the mean sum over the alternatives."""
        return log_mean(self.log_sums)

    @property
    def is_alarm(self) -> bool:
        """Whether the evidence has reached the threshold."""
        return self.log_evidence >= math.log(self.threshold_steps)

    def step(self, errors: int, labelled: int) -> Self:
        """Take one pane in. A pane without labels is no step."""
        if not labelled:
            return self
        p = self.baseline
        ratios = (
            errors * math.log(q / p) + (labelled - errors) * math.log((1.0 - q) / (1.0 - p)) for q in self.alternatives
        )
        return replace(self, log_sums=_advance(self.log_sums, ratios))

    def reset(self) -> Self:
        """Forget the evidence, after an alarm was acted upon."""
        return replace(self, log_sums=())


@dataclass(frozen=True, slots=True)
class LossDetector:
    """Watches the mean of a bounded loss (absolute error, log loss clipped) by betting against the baseline.

    The e-value of one event is 1 + stake (loss - baseline) (Waudby-Smith and Ramdas, 2024, J. R. Stat. Soc. B 86:1);
    of a pane, the product over its events. From counts, each loss is taken at the lower edge of its cell, which can
    only lower the evidence.

    Attributes:
        baseline: Upper confidence limit of the mean loss while nothing has changed, in units of the largest loss.
        threshold_steps: c, in panes.
        log_sums: The state: one logarithm per stake.
    """

    baseline: float
    threshold_steps: float
    log_sums: tuple[float, ...] = (NO_EVIDENCE,) * len(BETS)

    def __post_init__(self) -> None:
        _check(self.baseline, self.threshold_steps)

    @property
    def log_evidence(self) -> float:
        """Logarithm of the mean sum over the stakes."""
        return log_mean(self.log_sums)

    @property
    def is_alarm(self) -> bool:
        """Whether the evidence has reached the threshold."""
        return self.log_evidence >= math.log(self.threshold_steps)

    def step(self, counts: NDArray[np.int64], losses: NDArray[np.float64]) -> Self:
        """Take one pane in: events per cell, and the least loss of each cell between 0 and 1."""
        if not counts.any():
            return self
        above = np.clip(losses, 0.0, 1.0) - self.baseline
        ratios = (float(counts @ np.log1p(bet / self.baseline * above)) for bet in BETS)
        return replace(self, log_sums=_advance(self.log_sums, ratios))

    def reset(self) -> Self:
        """Forget the evidence, after an alarm was acted upon."""
        return replace(self, log_sums=(NO_EVIDENCE,) * len(BETS))


@dataclass(frozen=True, slots=True)
class DriftDetector:
    """Watches many features at once, a sum for each; decides on their mean.

    Attributes:
        threshold_steps: c, in windows.
        log_sums: The state: one logarithm per feature (and segment), by name.
    """

    threshold_steps: float
    log_sums: Mapping[str, float] = field(default_factory=dict)

    @property
    def log_evidence(self) -> float:
        """Logarithm of the mean sum over the features."""
        return log_mean(tuple(self.log_sums.values())) if self.log_sums else NO_EVIDENCE

    @property
    def is_alarm(self) -> bool:
        """Whether the evidence has reached the threshold."""
        return self.log_evidence >= math.log(self.threshold_steps)

    def step(self, log_e_values: Mapping[str, float]) -> Self:
        """Take one closed window in: the logarithm of each feature's e-value."""
        sums = {
            name: log_add(self.log_sums.get(name, NO_EVIDENCE), 0.0) + log_e for name, log_e in log_e_values.items()
        }
        return replace(self, log_sums={**self.log_sums, **sums})

    def strongest(self) -> Sequence[str]:
        """Names by falling evidence."""
        return sorted(self.log_sums, key=lambda name: (-self.log_sums[name], name))

    def reset(self) -> Self:
        """Forget the evidence, after an alarm was acted upon."""
        return replace(self, log_sums={})


def _check(baseline: float, threshold_steps: float) -> None:
    if not 0.0 < baseline < 1.0 or threshold_steps < 1.0:
        raise RequestError(
            f"a detector with the baseline {baseline} and the threshold {threshold_steps}",
            remedy="the baseline must be between 0 and 1, the threshold 1 or more",
        )


def _advance(log_sums: tuple[float, ...], log_ratios: Iterable[float]) -> tuple[float, ...]:
    return tuple(log_add(log_sum, 0.0) + ratio for log_sum, ratio in zip(log_sums, log_ratios, strict=True))
