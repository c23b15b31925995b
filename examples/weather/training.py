"""Training: the first version, from the first days to a bundle that can be pushed; and every later one, on request.

The first model learns from the first 2,500 days. The days after them, which it has not seen, become its reference: what
its inputs and scores look like and how often it is right, so that the bundle promises no more than it can keep.
"""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from examples.weather.days import DATA, Days
from millrace.serving.bundle import Bundle
from millrace.serving.export import Origin, export
from millrace.serving.manifest import TrainingSource
from millrace.serving.training import TrainingContext

if TYPE_CHECKING:
    from sklearn.ensemble import ExtraTreesClassifier, GradientBoostingClassifier

TRAINING_END: Final = 4_015
"""The day after the last that the first training may use: eleven times 365 days."""

_LEARNED_DAYS: Final = 2_500
_SEED: Final = 8
_HALF_LIFE_DAYS: Final = 60


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


def retrain(table: pa.Table, context: TrainingContext) -> "ExtraTreesClassifier":
    """The training function that the trainer calls for every request, in a process of its own.

    There are far fewer rows than the first model had, so it is many trees with random cuts, which overfit less; and the
    newest days count most, because the first ones may still be of the old world.

    Args:
        table: The records that the request means, but for the last ones, which are kept back to compare with.
        context: Names and the seed.
    """
    from sklearn.ensemble import ExtraTreesClassifier  # noqa: PLC0415

    measured = np.column_stack([table[name].to_numpy() for name in context.features])
    age = np.arange(len(table))[::-1]
    model = ExtraTreesClassifier(n_estimators=300, min_samples_leaf=3, random_state=context.seed)
    return model.fit(measured, table[context.label].to_pylist(), sample_weight=0.5 ** (age / _HALF_LIFE_DAYS))
