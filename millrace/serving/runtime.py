"""What runs a model: feature columns in, outputs out."""

from typing import Protocol

from millrace.core.columns import FeatureColumns
from millrace.core.outputs import Outputs


class Runtime(Protocol):
    """A loaded model. `infer` may be called from any thread, one call at a time unless the runtime says more."""

    @property
    def device(self) -> str:
        """What executes the model, for latency curves and telemetry: `python`, or as `Execution.device` says."""
        ...

    def infer(self, columns: FeatureColumns) -> Outputs:
        """Score every row; there is at least one. Blocks for as long as the model takes.

        Raises:
            InvalidRecordError: Some row cannot be scored (reason `model_error`); which one is not said. Bisect.
            FatalError: No row can be scored: the model does not answer what its signature says.
        """
        ...

    def close(self) -> None:
        """Release the model's memory. May be called twice; `infer` must not be called afterwards."""
        ...
