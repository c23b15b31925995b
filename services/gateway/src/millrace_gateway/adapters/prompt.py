"""Which micro-batches a model scores so fast that waking a thread for them would take longer."""

from datetime import timedelta
from typing import Final

import numpy as np

from millrace.core.clock import Clock
from millrace.core.columns import FeatureColumns
from millrace.process.deployment import Provider
from millrace.serving.engine import Engine
from millrace.serving.loading import LoadedModel
from millrace.serving.trial import rows_from_profile

PROMPT: Final = timedelta(microseconds=200)
_TRIED_ROWS: Final = (1, 16, 64, 256, 1024)
_RUNS: Final = 5


def prompt_rows(model: LoadedModel, clock: Clock) -> int:
    """The largest micro-batch that the model scores within `PROMPT`; 0 if none. Blocks for milliseconds.

    The best of a few runs is what the model itself takes, however busy the machine is. A function in Python is never
    prompt, because it may wait for something; nor is a model with a transform.
    """
    is_model_alone = model.bundle.model is not None and model.signature == model.bundle.signature
    if not is_model_alone or model.runtime.device != Provider.CPU:
        return 0
    sample = rows_from_profile(model.signature, model.profile)
    prompt = 0
    for rows in _TRIED_ROWS:
        columns = sample.take(np.arange(rows) % len(sample))
        if min(_run(model.engine, columns, clock) for _ in range(_RUNS)) > PROMPT:
            break
        prompt = rows
    return prompt


def _run(engine: Engine, columns: FeatureColumns, clock: Clock) -> timedelta:
    started = clock.monotonic()
    engine.infer(columns)
    return timedelta(seconds=clock.monotonic() - started)
