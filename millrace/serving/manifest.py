"""The manifest of a model bundle: everything that must be known to serve a model and to watch it.

A manifest is written once and never changed; its bytes are part of the bundle's digest.
"""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from millrace.core.signature import DType, ExtraFields, Feature, ModelInput, NotFinite, Signature, Task
from millrace.process.refusal import refusal
from millrace.process.retraining import OffsetRange

STRICT = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False)
"""Documents that machines write: no coercion, no unknown keys."""

ModelName: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=100)]
"""Lower-case letters, digits, dots, hyphens and underscores."""

Digest: TypeAlias = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
"""`sha256:` and 64 hexadecimal digits."""

FunctionName: TypeAlias = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$", max_length=200)
]
"""`package.module:function`."""

Count: TypeAlias = Annotated[int, Field(ge=0)]


class RuntimeKind(StrEnum):
    """What can run the model."""

    ONNX = "onnx"
    """A graph in `model.onnx`, run by ONNX Runtime."""
    PYTHON = "python"
    """A Python function that is installed where the scorer runs; the bundle holds its name, not its code."""


class FeatureDocument(BaseModel):
    """One feature of the signature."""

    model_config = STRICT

    name: Annotated[str, Field(min_length=1)]
    dtype: DType = DType.FLOAT32
    shape: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Empty for one value."""
    nullable: bool = False


class InputDocument(BaseModel):
    """One input tensor of the model, and the features that it stacks."""

    model_config = STRICT

    name: Annotated[str, Field(min_length=1)]
    features: Annotated[tuple[str, ...], Field(min_length=1)]


class SignatureDocument(BaseModel):
    """The JSON form of `millrace.core.signature.Signature`."""

    model_config = STRICT

    features: Annotated[tuple[FeatureDocument, ...], Field(min_length=1)]
    inputs: Annotated[tuple[InputDocument, ...], Field(min_length=1)]
    task: Task
    classes: tuple[str, ...] = ()
    score_output: Annotated[str, Field(min_length=1)]
    label_output: str | None = None
    not_finite: NotFinite = NotFinite.REJECT
    extra_fields: ExtraFields = ExtraFields.IGNORE

    @classmethod
    def of(cls, signature: Signature) -> Self:
        """The document of a signature."""
        return cls(
            features=tuple(
                FeatureDocument(name=each.name, dtype=each.dtype, shape=each.shape, nullable=each.nullable)
                for each in signature.features
            ),
            inputs=tuple(InputDocument(name=each.name, features=each.features) for each in signature.inputs),
            task=signature.task,
            classes=signature.classes,
            score_output=signature.score_output,
            label_output=signature.label_output,
            not_finite=signature.not_finite,
            extra_fields=signature.extra_fields,
        )

    def signature(self) -> Signature:
        """The signature of this document.

        Raises:
            RequestError: The parts contradict each other.
        """
        return Signature(
            features=tuple(Feature(each.name, each.dtype, each.shape, each.nullable) for each in self.features),
            inputs=tuple(ModelInput(each.name, each.features) for each in self.inputs),
            task=self.task,
            score_output=self.score_output,
            label_output=self.label_output,
            classes=self.classes,
            not_finite=self.not_finite,
            extra_fields=self.extra_fields,
        )


class BaselineMetric(BaseModel):
    """How good the model was on the reference rows, with a 95 % interval."""

    model_config = STRICT

    name: str
    """`accuracy`, `log_loss`, `brier`, `roc_auc`, `mae` or `rmse`."""
    value: float
    lower: float
    upper: float
    rows: Count
    """Reference rows that were used."""


class Environment(BaseModel):
    """What the model was made with."""

    model_config = STRICT

    python: str
    platform: str
    packages: Mapping[str, str] = {}
    """Versions of the packages that took part."""


class TrainingSource(BaseModel):
    """Which rows the model learned from."""

    model_config = STRICT

    topics: tuple[OffsetRange, ...] = ()
    files: tuple[str, ...] = ()
    rows: Count | None = None
    """Absent where it is not known."""


class BatchInvariance(BaseModel):
    """Whether a row's answer depends on the rows that were scored with it. Filled in by admission."""

    model_config = STRICT

    holds: bool
    """Every batch size gave the same bits."""
    batch_sizes: tuple[int, ...]
    """Sizes that were compared."""
    differing: tuple[int, ...] = ()
    """Sizes that gave other bits than the largest one."""
    rows: Count
    """Rows that were scored at the largest size."""
    runtime: str
    """Name and version of what scored them."""


class Manifest(BaseModel):
    """What a bundle says about its model."""

    model_config = STRICT

    format: Literal[1] = 1
    """Version of this document's form."""
    name: ModelName
    """Name of the model; its versions are counted by the registry."""
    runtime: RuntimeKind = RuntimeKind.ONNX
    function: FunctionName | None = None
    """The function of a `python` model."""
    signature: SignatureDocument
    profile: Digest
    """Id of the reference profile in `profile.json`."""
    transform: Digest | None = None
    """Fingerprint of the transform in `transform.json`, which the model was trained with; absent where it has none."""
    metrics: tuple[BaselineMetric, ...] = ()
    environment: Environment
    training: TrainingSource = TrainingSource()
    created_at: AwareDatetime
    invariance: BatchInvariance | None = None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if (self.runtime is RuntimeKind.PYTHON) != (self.function is not None):
            raise ValueError("a python model names its function, and no other model does")
        return self

    def to_json(self) -> bytes:
        """The canonical document: equal manifests give equal bytes."""
        document = self.model_dump(mode="json", exclude_none=True)
        return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes, *, subject: str) -> Self:
        """Read a manifest.

        Args:
            data: The document.
            subject: Where it came from, for errors.

        Raises:
            RequestError: It is no valid manifest; names the subject and the place.
        """
        try:
            manifest = cls.model_validate_json(data)
        except ValidationError as error:
            raise refusal(error, subject=subject, remedy="export the model again") from None
        manifest.signature.signature()
        return manifest
