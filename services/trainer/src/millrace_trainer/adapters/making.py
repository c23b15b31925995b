"""From a task to a candidate's bundle: runs in the training process."""

import importlib
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from millrace.core.errors import RequestError
from millrace.core.signature import Task
from millrace.serving.bundle import MANIFEST, copy_bundle, open_bundle
from millrace.serving.export import Origin, export
from millrace.serving.manifest import Manifest, SignatureDocument, TrainingSource
from millrace.serving.training import EVENT_TIME, LABEL, TrainingContext
from millrace_trainer.adapters.dataset import feature_values


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
        return
    held_out = pq.read_table(task["holdout"]).sort_by(EVENT_TIME)
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
