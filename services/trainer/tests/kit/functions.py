"""Training functions, good and bad, as users would write them."""

import os
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
from sklearn.linear_model import LinearRegression, LogisticRegression

from millrace.serving.training import TrainingContext
from millrace.testing.models import linear_bundle


def fit(table: pa.Table, context: TrainingContext) -> object:
    """What learns."""
    print("learning from", len(table), "rows")  # noqa: T201
    features = np.column_stack([table[name].to_numpy() for name in context.features])
    return LogisticRegression(random_state=context.seed).fit(features, table[context.label].to_pylist())


def guess(table: pa.Table, context: TrainingContext) -> object:
    """A planted candidate that learns from shuffled labels: worse than any champion that knows something."""
    features = np.column_stack([table[name].to_numpy() for name in context.features])
    shuffled = np.random.default_rng(context.seed).permutation(table[context.label].to_pylist())
    return LogisticRegression().fit(features, shuffled)


def fit_values(table: pa.Table, context: TrainingContext) -> object:
    """What learns a regression."""
    features = np.column_stack([table[name].to_numpy() for name in context.features])
    return LinearRegression().fit(features, table[context.label].to_numpy())


def bundle(table: pa.Table, context: TrainingContext) -> object:
    """A model that the function makes a bundle of itself."""
    return linear_bundle(context.folder / "mine", name=context.model, weights=(1, 1, 0)).directory


def fail(table: pa.Table, context: TrainingContext) -> object:
    """A bug."""
    print("about to divide")  # noqa: T201
    return 1 / 0


def hang(table: pa.Table, context: TrainingContext) -> object:
    """Never ends; says that it has begun."""
    sys.stdout.write("hanging\n")
    threading.Event().wait()
    return None


def hang_once(table: pa.Table, context: TrainingContext) -> object:
    """Hangs while there is no file of the name in the environment, which it makes; learns when it is there."""
    mark = Path(os.environ["MARK"])
    if mark.exists():
        return fit(table, context)
    mark.write_text(str(os.getpid()))
    return hang(table, context)


def hoard(table: pa.Table, context: TrainingContext) -> object:
    """Uses more memory than anybody has."""
    return np.ones(2**46, np.int8)
