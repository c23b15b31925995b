"""What the protocol tells about a model: metadata, configuration, statistics, as its JSON has them."""

from datetime import timedelta
from typing import Any, Final

from millrace.core.signature import Signature
from millrace.process.deployment import Deployment
from millrace.serving.loading import LoadedModel
from millrace.serving.manifest import RuntimeKind
from millrace_gateway.logic.statistics import ModelStatistics, Tally
from millrace_gateway.logic.tensors import Datatype, TensorSpec, input_specs, output_specs

EXTENSIONS: Final = (
    "binary_tensor_data",
    "model_repository",
    "statistics",
    "model_configuration",
    "schedule_policy",
)
"""The extensions of the Open Inference Protocol that are served."""

_CONFIG_TYPES: Final = {Datatype.BYTES: "TYPE_STRING"}


def platform_of(kind: RuntimeKind) -> str:
    """The protocol's name for what runs a model."""
    return "onnxruntime_onnx" if kind is RuntimeKind.ONNX else "python"


def describe_model(
    name: str, versions: list[str], deployment: Deployment, model: LoadedModel, *, asked: Signature
) -> dict[str, Any]:
    """The metadata of a model; `asked` is what a request brings, which may be less than the model takes."""
    signature = model.signature
    return {
        "name": name,
        "versions": versions,
        "platform": platform_of(model.manifest.runtime),
        "inputs": [_tensor(spec) for spec in input_specs(asked)],
        "outputs": [_tensor(spec) for spec in output_specs(signature)],
        "properties": describe_properties(deployment, model),
    }


def describe_properties(deployment: Deployment, model: LoadedModel) -> dict[str, str]:
    """What millrace knows of a model and the protocol has no word for."""
    signature = model.signature
    return {
        "deployment": deployment.deployment,
        "model": model.name,
        "version": str(model.version),
        "digest": model.digest,
        "task": signature.task.value,
        "classes": ",".join(signature.classes),
        "features": ",".join(feature.name for feature in signature.features),
    }


def describe_config(name: str, deployment: Deployment, model: LoadedModel, *, asked: Signature) -> dict[str, Any]:
    """How a model is served; see `describe_model`."""
    parameters = describe_properties(deployment, model).items()
    return {
        "name": name,
        "platform": platform_of(model.manifest.runtime),
        "max_batch_size": deployment.batch.max_records,
        "input": _config_tensors(input_specs(asked)),
        "output": _config_tensors(output_specs(model.signature)),
        "dynamic_batching": {"max_queue_delay_microseconds": deployment.online.max_wait // timedelta(microseconds=1)},
        "parameters": {key: {"string_value": value} for key, value in parameters},
    }


def describe_statistics(name: str, version: str, found: ModelStatistics) -> dict[str, Any]:
    """What a model has done."""
    return {
        "name": name,
        "version": version,
        "last_inference": found.last_ms,
        "inference_count": found.rows,
        "execution_count": found.executions,
        "inference_stats": {
            "success": _duration(found.succeeded),
            "fail": _duration(found.failed),
            "queue": _duration(found.waited),
            "compute_infer": _duration(found.inferred),
        },
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype.value, "shape": list(spec.shape)}


def _config_tensors(specs: tuple[TensorSpec, ...]) -> list[dict[str, Any]]:
    return [
        {
            "name": spec.name,
            "data_type": _CONFIG_TYPES.get(spec.datatype, f"TYPE_{spec.datatype}"),
            "dims": list(spec.shape[1:]) or [1],
        }
        for spec in specs
    ]


def _duration(tally: Tally) -> dict[str, int]:
    return {"count": tally.count, "ns": tally.nanoseconds}
