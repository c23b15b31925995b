"""Whether a candidate takes the champion's place: a pure function of how the two compare."""

from dataclasses import dataclass
from enum import StrEnum

from millrace.core.errors import RequestError
from millrace.core.paired import Comparison


class Approval(StrEnum):
    """Who lets a candidate that is shown to be better take over."""

    AUTOMATIC = "automatic"
    """Nobody needs to be asked."""
    PERSON = "person"
    """A person, with `millrace model promote`."""
    CANARY = "canary"
    """The live stream: it becomes the challenger, and the deployment's rollout decides."""


class Verdict(StrEnum):
    """What is to become of a candidate."""

    PROMOTE = "promote"
    """It becomes the champion."""
    ASK = "ask"
    """It becomes the challenger, and a person decides."""
    TRY = "try"
    """It becomes the challenger, and a rollout decides."""
    REFUSE = "refuse"
    """It becomes nothing."""


@dataclass(frozen=True, slots=True)
class PromotionPolicy:
    """When a candidate is good enough.

    Attributes:
        approval: Who has the last word on a candidate that is shown to be better.
        min_rows: The fewest held-out records that a decision may rest on.
        alpha: The largest probability of chance at which a gain counts as shown.
        min_gain: The least gain that is worth a change, in the metric's unit.
    """

    approval: Approval = Approval.AUTOMATIC
    min_rows: int = 100
    alpha: float = 0.05
    min_gain: float = 0.0

    def __post_init__(self) -> None:
        if self.min_rows < 2 or not 0 < self.alpha < 1 or self.min_gain < 0:
            raise RequestError(
                "the promotion policy cannot be met",
                remedy="give at least 2 rows, an alpha between 0 and 1, and a gain of 0 or more",
            )


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on a candidate, and why, in one line with the numbers."""

    verdict: Verdict
    why: str


def judge(comparison: Comparison, policy: PromotionPolicy) -> Judgement:
    """Decide about a candidate.

    It is promoted only when it is shown to be better. One that is better by chance perhaps is for a person to decide,
    or for a rollout; one that is not better, or was measured on too little, is refused.
    """
    numbers = _numbers(comparison)
    if (objection := _objection(comparison, policy)) is not None:
        return Judgement(Verdict.REFUSE, f"{objection}: {numbers}")
    if policy.approval is Approval.CANARY:
        return Judgement(Verdict.TRY, f"the candidate seems better, and a rollout decides: {numbers}")
    if comparison.p_value > policy.alpha:
        return Judgement(Verdict.ASK, f"the gain may be chance: {numbers}")
    if policy.approval is Approval.PERSON:
        return Judgement(Verdict.ASK, f"the candidate is better, and a person decides: {numbers}")
    return Judgement(Verdict.PROMOTE, f"the candidate is better: {numbers}")


def _objection(comparison: Comparison, policy: PromotionPolicy) -> str | None:
    """Why a candidate is out of the question; None where it is not."""
    if comparison.rows < policy.min_rows:
        return f"too few held-out records, {policy.min_rows} are needed"
    if comparison.gain <= 0:
        return "the candidate is not better"
    return f"the gain is less than {policy.min_gain:g}" if comparison.gain < policy.min_gain else None


def _numbers(comparison: Comparison) -> str:
    return (
        f"{comparison.metric} {comparison.candidate.value:.4f} against {comparison.champion.value:.4f}, "
        f"gain {comparison.gain:+.4f} ({comparison.lower:+.4f} to {comparison.upper:+.4f}), "
        f"p = {comparison.p_value:.2g} ({comparison.test.value}), n = {comparison.rows}"
    )
