"""From a bundle to a model that is ready to score: checked, loaded, warmed up."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np

from millrace.core.binning import Binner
from millrace.core.columns import FeatureColumns
from millrace.core.errors import InvalidRecordError, RequestError
from millrace.core.profile import ReferenceProfile
from millrace.core.signature import Signature
from millrace.process.deployment import Deployment
from millrace.serving.bundle import Bundle
from millrace.serving.engine import Engine
from millrace.serving.execution import Execution
from millrace.serving.manifest import Manifest
from millrace.serving.onnx import OnnxRuntime
from millrace.serving.python import PythonRuntime, import_function
from millrace.serving.runtime import Runtime
from millrace.serving.transforming import Preparation
from millrace.serving.trial import rows_from_profile


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model version in memory, warmed up.

    Attributes:
        bundle: Where it came from.
        version: Its number in the registry; 0 for a bundle that is not registered.
        runtime: What runs it. Whoever loaded the model closes it.
        binner: Finds the bins of feature columns in the reference profile.
    """

    bundle: Bundle
    version: int
    runtime: Runtime
    binner: Binner

    @property
    def manifest(self) -> Manifest:
        """What the bundle says about it."""
        return self.bundle.manifest

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.bundle.manifest.name

    @property
    def signature(self) -> Signature:
        """What records bring and what they are answered: with a transform its input columns, else the features.

        Raises:
            RequestError: A column of the transform may be missing that a record cannot leave out.
        """
        return self.bundle.accepts

    @property
    def transform(self) -> str:
        """Fingerprint of its transform; `identity` where it has none."""
        return self.bundle.manifest.transform or "identity"

    @property
    def profile(self) -> ReferenceProfile:
        """What its reference rows looked like."""
        return self.bundle.profile

    @property
    def digest(self) -> str:
        """The bundle's digest."""
        return self.bundle.digest

    @property
    def engine(self) -> Engine:
        """Scores batches of what `signature` says, and finds their bins."""
        program = self.bundle.program
        preparation = None if program is None else Preparation(program, self.bundle.signature)
        return Engine(self.runtime, self.binner, preparation)

    def close(self) -> None:
        """Release the model's memory."""
        self.runtime.close()


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How to load a model.

    Attributes:
        execution: What executes an ONNX model, and how.
        python_functions: Whether a model may be a Python function, which runs with all the rights of this process.
    """

    execution: Execution = field(default_factory=Execution)
    python_functions: bool = False

    @classmethod
    def of(cls, deployment: Deployment, *, engines: Path | None = None) -> Self:
        """What a deployment declares; `engines` as in `Execution`."""
        return cls(Execution.of(deployment, engines=engines), deployment.runtime.python_functions)


def load(bundle: Bundle, *, version: int = 0, options: LoadOptions | None = None) -> LoadedModel:
    """Load a bundle's model and score rows with it until it is warm. Blocks for milliseconds to seconds.

    The bundle comes from the registry (`Registry.open`), where only admitted models are, or from a folder that the
    caller trusts (`open_bundle`).

    Raises:
        RequestError: A provider is missing, the model is a function and that is not allowed, or it cannot score.
        FatalError: The model does not answer what its signature says.
    """
    options = options or LoadOptions()
    runtime = _runtime(bundle, options)
    model = LoadedModel(bundle, version, runtime, Binner(bundle.profile, bundle.signature))
    try:
        _warm_up(model, options.execution)
    except BaseException:
        runtime.close()
        raise
    return model


def _runtime(bundle: Bundle, options: LoadOptions) -> Runtime:
    if bundle.model is not None:
        return OnnxRuntime(bundle.model, bundle.signature, options.execution)
    function = str(bundle.manifest.function)
    if not options.python_functions:
        raise RequestError(
            f"{bundle.manifest.name!r} is the Python function {function!r}, which this deployment does not allow",
            remedy="set runtime.python_functions: true if you trust that code",
        )
    return PythonRuntime(import_function(function), bundle.signature)


def _warm_up(model: LoadedModel, execution: Execution) -> None:
    """The first inference of a session allocates and, on a GPU, compiles; no record should wait for that."""
    rows = _rows(model.bundle)
    try:
        for size in execution.warm_sizes(rows.signature, len(rows)):
            batch = rows.take(np.arange(size) % len(rows))
            model.runtime.infer(batch)
            model.binner.strings(batch)
    except InvalidRecordError as error:
        raise RequestError(
            f"the model {model.name!r} cannot score its own sample: {error.detail}", remedy="export the model again"
        ) from None


def _rows(bundle: Bundle) -> FeatureColumns:
    sample = bundle.sample
    return sample if sample is not None and len(sample) else rows_from_profile(bundle.signature, bundle.profile)
