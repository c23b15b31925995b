"""How the model learns; put your own in its place. What it may import is in the trainer's image."""

import numpy as np
import pyarrow as pa
from sklearn.linear_model import LogisticRegression

from millrace.serving.training import TrainingContext


def train(table: pa.Table, context: TrainingContext) -> object:
    """Learn from labelled records."""
    features = np.column_stack([table[name] for name in context.features])
    return LogisticRegression(random_state=context.seed).fit(features, table[context.label].to_pylist())
