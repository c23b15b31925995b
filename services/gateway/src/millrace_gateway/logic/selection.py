"""What a subscriber sees of a prediction, and which predictions a subscriber wants."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from millrace.core.errors import RequestError

_ENDLESS: Final = float("inf")


@dataclass(frozen=True, slots=True)
class Published:
    """A prediction as it lies in its topic, made ready once for all who read it.

    Attributes:
        partition: Where it lies.
        offset: Where it lies.
        key: The record's key.
        text: The prediction as one line of JSON, with `key` and `at` added.
        version: The version of the model that made it.
        label: The class; None for regression.
        scores: Score by class; empty for regression.
        value: The predicted value; None for classes.
    """

    partition: int
    offset: int
    key: bytes | None
    text: bytes
    version: int
    label: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which predictions are wanted; all of them by default.

    Attributes:
        keys: Only these keys; empty for any.
        version: Only this version of the model.
        class_name: The class whose score is meant below; the predicted one where absent. Of a regression the value is.
        min_score: Only scores (or values) of at least this.
        max_score: Only scores (or values) of at most this.
    """

    keys: frozenset[bytes] = frozenset()
    version: int | None = None
    class_name: str | None = None
    min_score: float = -_ENDLESS
    max_score: float = _ENDLESS

    def __post_init__(self) -> None:
        if not self.min_score <= self.max_score:  # NaN included
            raise RequestError(
                f"no score lies between {self.min_score:g} and {self.max_score:g}",
                remedy="give a min_score that is not above max_score",
            )

    @property
    def is_everything(self) -> bool:
        """Whether nothing is left out."""
        return self == _EVERYTHING

    def has(self, prediction: Published) -> bool:
        """Whether the prediction is wanted."""
        if self.keys and prediction.key not in self.keys:
            return False
        if self.version is not None and prediction.version != self.version:
            return False
        if self.class_name is None and (self.min_score, self.max_score) == (-_ENDLESS, _ENDLESS):
            return True
        score = self._score(prediction)
        return score is not None and self.min_score <= score <= self.max_score

    def _score(self, prediction: Published) -> float | None:
        if prediction.value is not None:
            return prediction.value if self.class_name is None else None
        return prediction.scores.get(self.class_name or prediction.label or "")


_EVERYTHING: Final = Selection()
