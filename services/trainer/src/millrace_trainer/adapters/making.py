"""From a task to a candidate's bundle: runs in the training process."""

import importlib
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from millrace.core.errors import RequestError
from millrace.core.signature import Signature, Task
from millrace.serving.bundle import MANIFEST, attach_transform, copy_bundle, open_bundle
from millrace.serving.export import Origin, export
from millrace.serving.manifest import Manifest, SignatureDocument, TrainingSource
from millrace.serving.training import EVENT_ID, EVENT_TIME, LABEL, TrainingContext
from millrace.serving.transforming import Preparation, check_fits
from millrace.transform import Program, Transform
from millrace_trainer.adapters.dataset import feature_arrays, feature_values


def make_candidate(task: Mapping[str, Any]) -> None:
    """Call the training function and write what it returns as a bundle.

    Raises:
        RequestError: There is no such function, or what it returns cannot be made a bundle. Whatever it raises passes.
    """
    signature = SignatureDocument.model_validate_json(task["signature"]).signature()
    names = tuple(feature.name for feature in signature.features)
    function = find_function(task["function"])
    # The function's own output must not mix with held-out rows: it sees the earlier file alone.
    table = pq.read_table(task["train"]).sort_by(EVENT_TIME)
    preparation = _fitted(task["transform"], table, signature)
    table = _prepared(table, preparation)
    scratch = Path(task["scratch"])
    scratch.mkdir()
    context = TrainingContext(
        model=task["model"],
        task=Task(task["task"]),
        features=names,
        seed=task["seed"],
        folder=scratch,
        request=task["request"],
    )
    made = function(table, context)
    training = TrainingSource.model_validate_json(task["training"])
    origin = Origin(task["model"], datetime.fromisoformat(task["created_at"]), training)
    target = Path(task["bundle"])
    if isinstance(made, str | Path):
        take_bundle(Path(made), target, origin)
        _attach(target, preparation)
        return
    held_out = _prepared(pq.read_table(task["holdout"]).sort_by(EVENT_TIME), preparation)
    labels = held_out[LABEL].to_pylist()
    export(
        made,
        feature_values(held_out, signature),
        origin=origin,
        directory=target,
        labels=labels,
        # Of the few held-out rows the next ones would soon look different, if only because the season is another one.
        reference=feature_values(pa.concat_tables([table, held_out]), signature),
    )
    _attach(target, preparation)


def _fitted(document: Mapping[str, Any] | None, table: pa.Table, signature: Signature) -> Preparation | None:
    """The transform of the model, learnt anew from the rows that the candidate learns from."""
    if document is None:
        return None
    program = Program.fit(Transform.parse(document, subject="the champion's transform"), table)
    check_fits(program, signature)
    return Preparation(program, signature)


def _prepared(table: pa.Table, preparation: Preparation | None) -> pa.Table:
    """The rows as the model has them, with ids, times and labels; without those that its transform does not pass."""
    if preparation is None:
        return table
    made = preparation.prepare_table(table)
    if not len(made.columns):
        raise RequestError("the transform passes no record to learn from", remedy="train on a longer history")
    kept = table.select([EVENT_ID, EVENT_TIME, LABEL]).take(pa.array(made.source))
    return pa.table({**dict(zip(kept.column_names, kept.columns, strict=True)), **feature_arrays(made.columns)})


def _attach(target: Path, preparation: Preparation | None) -> None:
    if preparation is not None:
        attach_transform(open_bundle(target), preparation.program)


def find_function(name: str) -> Callable[[Any, TrainingContext], object]:
    """Import `package.module:function`.

    Raises:
        RequestError: It cannot be imported.
    """
    module, _, attributes = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for attribute in attributes.split("."):
            found = getattr(found, attribute)
    except (ImportError, AttributeError) as error:
        raise RequestError(
            f"there is no training function {name!r}: {error}", remedy="install it, or name its folder"
        ) from error
    if not callable(found):
        raise RequestError(f"{name!r} is no function", remedy="name a function of (table, context)")
    function: Callable[[Any, TrainingContext], object] = found
    return function


def take_bundle(source: Path, target: Path, origin: Origin) -> None:
    """Copy a bundle that the function made, and write into its manifest where it comes from.

    Raises:
        RequestError: It is no bundle, or one of another model.
    """
    target.mkdir()
    copy_bundle(source, target)
    made: Manifest = open_bundle(target).manifest
    if made.name != origin.name:
        raise RequestError(f"the function made a bundle of {made.name!r}", remedy=f"name it {origin.name!r}")
    stamped = made.model_copy(update={"training": origin.training, "created_at": origin.created_at})
    (target / MANIFEST).write_bytes(stamped.to_json())
