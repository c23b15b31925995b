"""Training: from the first days to a bundle that can be pushed.

The model learns from the first 2,500 days. The 1,500 days after them, which it has not seen, become its reference: what
its inputs and scores look like and how often it is right, so that the bundle promises no more than it can keep.
"""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from examples.weather.days import DATA, Days
from millrace.serving.bundle import Bundle
from millrace.serving.export import Origin, export
from millrace.serving.manifest import TrainingSource

if TYPE_CHECKING:
    from sklearn.ensemble import GradientBoostingClassifier

TRAINING_END: Final = 4_000
"""The day after the last that training may use."""

_LEARNED_DAYS: Final = 2_500
_SEED: Final = 8


def train(days: Days) -> "GradientBoostingClassifier":
    """A classifier that has learned from `days`; the same days give the same classifier. Takes about a second."""
    # Importing scikit-learn takes as long as the training: not before something else can be seen.
    from sklearn.ensemble import GradientBoostingClassifier  # noqa: PLC0415

    model = GradientBoostingClassifier(
        n_estimators=200, learning_rate=0.05, max_depth=4, subsample=0.7, random_state=_SEED
    )
    return model.fit(days.measured, days.truth())


def make_bundle(days: Days, *, name: str, directory: Path, created_at: datetime) -> Bundle:
    """Train on the first days of `days`, validate on the others, and write the bundle.

    Args:
        days: What training may use, at least `TRAINING_END` days.
        name: Name of the model in the registry.
        directory: Where to write.
        created_at: The time now.
    """
    learned = days.between(days.first, days.first + _LEARNED_DAYS)
    reference = days.between(learned.end, TRAINING_END)
    return export(
        train(learned),
        reference.columns(),
        origin=Origin(name, created_at, TrainingSource(files=(DATA.name,), rows=len(learned))),
        directory=directory,
        labels=reference.truth(),
    )
