"""Why a model is not admitted: a closed list, and the error that carries one of its entries."""

from enum import StrEnum

from millrace.core.errors import RequestError


class Refusal(StrEnum):
    """Why a model is not admitted."""

    EMPTY = "empty"
    """The file has no bytes."""
    OVERSIZED = "oversized"
    """The file is larger than the limit."""
    PICKLE = "pickle"
    """A pickle, which can run any code when it is opened. It was not opened."""
    WEIGHTS_ONLY = "weights_only"
    """Weights without the computation that uses them."""
    NOT_ONNX = "not_onnx"
    """Not an ONNX model, or a damaged one."""
    EXTERNAL_DATA = "external_data"
    """The model reads data from outside its file."""
    CUSTOM_OPERATOR = "custom_operator"
    """An operator that is not among the standard ones."""
    LOCAL_FUNCTION = "local_function"
    """The model defines functions of its own."""
    INVALID_GRAPH = "invalid_graph"
    """The graph breaks the rules of ONNX: cyclic, nested too deep, undefined values."""
    SIGNATURE_MISMATCH = "signature_mismatch"
    """Inputs or outputs differ from the signature."""
    FIXED_BATCH = "fixed_batch"
    """The model accepts only one number of rows."""
    UNLOADABLE = "unloadable"
    """ONNX Runtime cannot load it."""
    CANNOT_SCORE = "cannot_score"
    """The model loads but fails on its own sample rows."""
    CRASHED = "crashed"
    """The model ended the process that tried it."""
    TOO_MUCH_MEMORY = "too_much_memory"
    """The model needs more memory than the trial allows."""
    TOO_SLOW = "too_slow"
    """The model did not answer within the time of the trial."""


_REMEDIES = {
    Refusal.EMPTY: "export the model again",
    Refusal.OVERSIZED: "quantise or prune the model",
    Refusal.PICKLE: "export the estimator itself: millrace.serving.export.export(estimator, sample, ...)",
    Refusal.WEIGHTS_ONLY: "build the model, load the weights into it and export it with millrace.serving.export",
    Refusal.NOT_ONNX: "export the model with millrace.serving.export",
    Refusal.EXTERNAL_DATA: "save the model as a single file (onnx.save with save_as_external_data=False)",
    Refusal.CUSTOM_OPERATOR: "express the model in standard ONNX operators",
    Refusal.LOCAL_FUNCTION: "inline the functions (onnx.inliner.inline_local_functions) and export again",
    Refusal.INVALID_GRAPH: "export the model again",
    Refusal.SIGNATURE_MISMATCH: "export the model again, or correct the signature in the manifest",
    Refusal.FIXED_BATCH: "export it with a free first dimension",
    Refusal.UNLOADABLE: "export it for an operator set that this ONNX Runtime has",
    Refusal.CANNOT_SCORE: "score the sample rows with the model where it was made",
    Refusal.CRASHED: "report the model to its maker; it was not run outside the trial",
    Refusal.TOO_MUCH_MEMORY: "use a smaller model, or raise the trial's memory limit",
    Refusal.TOO_SLOW: "use a smaller model, or raise the trial's time limit",
}


class ModelRefusedError(RequestError):
    """A model is not admitted.

    Args:
        refusal: The closed-list reason.
        detail: What exactly is wrong, in one line.
        remedy: Replaces the usual remedy of the reason.
    """

    def __init__(self, refusal: Refusal, detail: str, *, remedy: str = "") -> None:
        super().__init__(f"the model is refused, {refusal}: {detail}", remedy=remedy or _REMEDIES[refusal])
        self.refusal = refusal
        self.detail = detail
