"""What a training function is given, and what it gives back.

A training function is named `package.module:function`. It is called in a process of its own::

    def train(table: pa.Table, context: TrainingContext) -> object:
        features = table.select(list(context.features)).to_pandas()
        model = LogisticRegression(random_state=context.seed)
        return model.fit(features.to_numpy(), table[context.label].to_pylist())

It returns a fitted estimator, which `millrace.serving.export` can convert, or the path of a bundle's folder.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from millrace.core.signature import Task

LABEL: Final = "_label"
"""Column of the truth: the class as text, or the value."""

EVENT_ID: Final = "_event_id"
"""Column of the events' ids."""

EVENT_TIME: Final = "_event_time"
"""Column of the records' timestamps, milliseconds since 1970."""


@dataclass(frozen=True, slots=True)
class TrainingContext:
    """What a training function may know besides the rows.

    Attributes:
        model: Name of the model.
        task: What it is to predict.
        features: Names of the feature columns, in the order of the signature.
        seed: For everything random: equal seeds on equal rows shall give equal models.
        folder: An empty folder to write to.
        request: The request for this training, as its topic has it.
        label: Name of the column with the truth.
        event_id: Name of the column with the events' ids.
        event_time: Name of the column with the records' timestamps, milliseconds since 1970; rows ascend by it.
    """

    model: str
    task: Task
    features: tuple[str, ...]
    seed: int
    folder: Path
    request: Mapping[str, Any] = field(default_factory=dict)
    label: str = LABEL
    event_id: str = EVENT_ID
    event_time: str = EVENT_TIME
