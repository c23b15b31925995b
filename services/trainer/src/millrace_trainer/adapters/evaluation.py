"""Champion and candidate on the same held-out rows."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from millrace.core.errors import RequestError
from millrace.core.paired import Comparison, compare_classes, compare_errors
from millrace.core.signature import Signature, Task
from millrace.serving.loading import LoadedModel
from millrace.serving.training import LABEL
from millrace.serving.transforming import UntransformableError
from millrace_trainer.adapters.dataset import table_columns

_ROWS: Final = 5_000


def evaluate(
    champion: LoadedModel, candidate: LoadedModel, holdout: Path, keep_alive: Callable[[], None]
) -> Comparison:
    """Score every held-out row with both models and compare pair by pair.

    A row that the champion refuses counts as wrong; of a regression it is left out. So is a row that comes to neither
    model, because their transforms refuse it or leave it out: it would be no prediction.

    Raises:
        RequestError: The candidate answers another question, wants a feature that records do not have, or refuses rows.
    """
    task = champion.signature.task
    if (candidate.signature.task is Task.REGRESSION) != (task is Task.REGRESSION):
        raise RequestError(
            f"the candidate is a {candidate.signature.task} and the champion a {task}",
            remedy="train a model of the same task",
        )
    found: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    with pq.ParquetFile(holdout) as file:
        for batch in file.iter_batches(_ROWS):
            keep_alive()
            table = pa.Table.from_batches([batch])
            rows = [_losses(model, table, champion.signature) for model in (champion, candidate)]
            is_asked = rows[0].is_asked | rows[1].is_asked
            found.append((rows[0].values[is_asked], rows[1].values[is_asked]))
    losses = [np.concatenate([pair[side] for pair in found]) for side in (0, 1)]
    if refused := int(np.isnan(losses[1]).sum()):
        raise RequestError(
            f"the candidate refuses {refused} of {len(losses[1])} held-out rows",
            remedy="train a model that answers every valid record",
        )
    if task is not Task.REGRESSION:
        return compare_classes(losses[0] == 0, losses[1] == 0)
    both = ~np.isnan(losses[0])
    return compare_errors(losses[0][both], losses[1][both])


@dataclass(frozen=True, slots=True)
class _Losses:
    """What a model's answers to n rows cost.

    Attributes:
        values: 0 for the right class and 1 for another, or the absolute error; NaN where there is no answer.
        is_asked: Whether the row came to the model: its transform let it pass.
    """

    values: NDArray[np.float64]
    is_asked: NDArray[np.bool_]


def _losses(model: LoadedModel, table: pa.Table, given: Signature) -> _Losses:
    inference = model.engine.infer(table_columns(table, given, model.signature))
    losses, is_asked = np.full(len(table), np.nan), np.zeros(len(table), np.bool_)
    is_asked[inference.scored] = True
    is_asked[[row for row, error in inference.refused if not isinstance(error, UntransformableError)]] = True
    truth = table[LABEL].to_numpy()
    outputs = inference.outputs
    if outputs.labels is None:
        losses[inference.scored] = np.abs(outputs.scores.astype(np.float64) - truth[inference.scored])
    else:
        classes = np.array(model.signature.classes, dtype=object)
        losses[inference.scored] = classes[outputs.labels] != truth[inference.scored]
    return _Losses(losses, is_asked)
