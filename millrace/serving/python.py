"""The runtime `python`: a plain function that is installed beside the scorer.

The function takes a dict with one array per feature, all of n rows: shape (n,), or (n, *shape) for a tensor feature. It
returns an array of scores, or a dict of arrays by output name::

    def rain(features: dict[str, np.ndarray]) -> np.ndarray:
        return 1 / (1 + np.exp(-features["dew_point"]))

It runs with all the rights of the scorer, so a deployment must allow it by `runtime.python_functions: true`.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from operator import attrgetter
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from millrace.core.columns import FeatureColumns
from millrace.core.errors import InvalidRecordError, Reason, RequestError
from millrace.core.outputs import Outputs, read_outputs
from millrace.core.signature import Signature

Answer: TypeAlias = NDArray[np.generic] | Mapping[str, NDArray[np.generic]]
ScoringFunction: TypeAlias = Callable[[Mapping[str, NDArray[np.generic]]], Answer]


class PythonRuntime:
    """A Python function as a model.

    Args:
        function: What to call.
        signature: What it accepts and answers.
    """

    def __init__(self, function: ScoringFunction, signature: Signature) -> None:
        self._function: Final = function
        self._signature: Final = signature

    @property
    def device(self) -> str:
        """Always `python`."""
        return "python"

    def infer(self, columns: FeatureColumns) -> Outputs:
        """See `millrace.serving.runtime.Runtime.infer`. Whatever the function raises is the record's fault."""
        features = {feature.name: columns.column(feature.name) for feature in self._signature.features}
        try:
            answer = self._function(features)
        except Exception as error:  # a user's function may raise anything
            raise InvalidRecordError(Reason.MODEL_ERROR, f"{type(error).__name__}: {error}"[:300]) from error
        raw = answer if isinstance(answer, Mapping) else {self._signature.score_output: answer}
        arrays = {name: np.asarray(values) for name, values in raw.items()}
        return read_outputs(self._signature, arrays, len(columns))

    def close(self) -> None:
        """Nothing to release."""


def import_function(name: str) -> ScoringFunction:
    """Import `package.module:function`.

    Raises:
        RequestError: There is no such module or function, or it cannot be called.
    """
    module, _, attribute = name.partition(":")
    try:
        function = attrgetter(attribute)(import_module(module))
    except (ImportError, AttributeError) as error:
        raise RequestError(
            f"cannot import the model's function {name!r}: {error}", remedy="install its package where the scorer runs"
        ) from None
    if not callable(function):
        raise RequestError(f"{name!r} is no function", remedy="name a function that takes a dict of arrays")
    scoring: ScoringFunction = function
    return scoring
