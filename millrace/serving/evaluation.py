"""How good a model is on rows whose truth is known, as it would answer them live."""

import hashlib
import json

import numpy as np

from millrace.core.columns import FeatureColumns
from millrace.core.errors import RequestError
from millrace.serving.catalogue import Evaluated
from millrace.serving.export import Labels, baseline_metrics, class_indexes
from millrace.serving.loading import LoadedModel
from millrace.serving.rows import columns_from_values, columns_to_json
from millrace.serving.sample import Sample, named_columns


def evaluate(model: LoadedModel, data: Sample, labels: Labels) -> Evaluated:
    """Score rows, and compare with what was true. Blocks while the model works.

    Rows that the model or its transform refuses or leaves out count in no metric; each metric says how many did.

    Args:
        model: Whose answers are measured.
        data: What records would bring, by name; of a matrix, in the order of the signature.
        labels: The true classes or values of the same rows.

    Raises:
        RequestError: The rows do not fit the model or the labels, or none of them can be scored.
        FatalError: The model does not answer what its signature says.
    """
    signature = model.signature
    given = named_columns(data, [feature.name for feature in signature.features])
    columns = columns_from_values(signature, given)
    if len(labels) != len(columns):
        raise RequestError(f"{len(labels)} labels for {len(columns)} rows", remedy="give one label per row")
    if not len(columns):
        raise RequestError("there are no rows", remedy="give rows that the model did not learn from")
    inference = model.engine.infer(columns)
    if not len(inference.scored):
        reason = inference.refused[0][1].detail if inference.refused else "its transform leaves all of them out"
        raise RequestError(
            f"{model.name!r} scores none of the rows: {reason}", remedy="give rows as records bring them"
        )
    known = [labels[row] for row in inference.scored.tolist()]
    classes = model.bundle.signature.classes
    truth = class_indexes(classes, known) if classes else None
    metrics = tuple(baseline_metrics(inference.outputs, known, truth))
    return Evaluated(rows_digest(columns, labels), len(columns), metrics)


def rows_digest(columns: FeatureColumns, labels: Labels) -> str:
    """`sha256:` and the digits for rows with their labels: equal for equal rows in the same order."""
    digest = hashlib.sha256(columns_to_json(columns))
    digest.update(b"\n")
    digest.update(json.dumps(list(map(str, np.asarray(labels).tolist()))).encode())
    return f"sha256:{digest.hexdigest()}"
