"""How a challenger is tried."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, Field, model_validator

from millrace.core.rollout import RolloutMode, SequentialTest
from millrace.process.deployment.names import Count, ModelReference
from millrace.process.settings import FROZEN


class Follow(StrEnum):
    """What follows when a challenger is shown to be better."""

    PROMOTE = "promote"
    """It becomes the champion."""
    PROPOSE = "propose"
    """It stays the challenger, and a person decides: `millrace model promote`."""


class Rollout(BaseModel):
    """How a challenger is tried. A rollout is on while the challenger's alias names another version than the champion.

    The probability that a challenger is promoted which is not better than `margin`, or rolled back which is not worse
    than `tolerance`, is at most `alpha`, over the whole rollout. Both count in shares of labelled events on which one
    version alone was right (for numbers: nearer).
    """

    model_config = FROZEN

    mode: RolloutMode = RolloutMode.NONE
    """`shadow`: it scores everything and answers nothing. `canary`: it answers a share of the keys."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of the keys that a canary answers."""
    challenger: ModelReference | None = None
    """Which version is tried; the alias `challenger` of the model where absent."""
    follow: Follow = Follow.PROMOTE
    """What follows when it is shown to be better."""
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """Probability of a false promotion, and of a false rollback, at most."""
    margin: Annotated[float, Field(gt=-1, lt=1)] = 0.0
    """The gain to be exceeded. 0 is better; -0.01 is not worse by one event in a hundred."""
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The loss to be exceeded before it is rolled back."""
    min_pairs: Count = 200
    """No end before so many labelled events that both versions scored."""
    max_pairs: Count = 100_000
    """The end at so many: the champion stays."""

    @property
    def test(self) -> SequentialTest:
        """When the rollout ends."""
        return SequentialTest(self.alpha, self.margin, self.tolerance, self.min_pairs, self.max_pairs)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.max_pairs < self.min_pairs:
            raise ValueError(f"max_pairs ({self.max_pairs}) is smaller than min_pairs ({self.min_pairs})")
        return self
