"""A model that takes features of every kind that the native decoders know."""

from typing import Final

from millrace.core.signature import DType, Feature, ModelInput

FEATURES: Final = (
    Feature("a"),
    Feature("b", nullable=True),
    Feature("w", DType.FLOAT64),
    Feature("n", DType.INT32),
    Feature("l", DType.INT64),
    Feature("f", DType.BOOL),
    Feature("t", shape=(2, 2)),
    Feature("g", DType.FLOAT64, shape=(2,), nullable=True),
)
INPUTS: Final = (
    ModelInput("x", ("b", "a")),
    *(ModelInput(name, (name,)) for name in ("w", "n", "l", "f", "t", "g")),
)
