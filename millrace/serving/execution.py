"""How an ONNX model is to be executed, and what that means to ONNX Runtime's execution providers. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, TypeAlias

from millrace.core.signature import DType, ModelInput, Signature
from millrace.process.deployment import Deployment, Precision, Provider

Options: TypeAlias = dict[str, str]

_LARGEST_BYTES: Final = 256 << 20
"""Larger batches are neither padded nor warmed up: there, the time of a kernel's choice has vanished."""
PROVIDER_NAMES: Final[Mapping[Provider, str]] = {
    Provider.CPU: "CPUExecutionProvider",
    Provider.CUDA: "CUDAExecutionProvider",
    Provider.TENSORRT: "TensorrtExecutionProvider",
}
"""What ONNX Runtime calls each provider."""


@dataclass(frozen=True, slots=True)
class Execution:
    """What executes a model, and how.

    Attributes:
        providers: In the order of preference. The CPU always takes the operators that the others do not have.
        threads: Threads of one inference on the CPU.
        precision: Of what the model computes on an accelerator.
        largest: The most rows of a batch; an accelerator is warmed up for batches of up to so many.
        engines: Where TensorRT keeps what it has built, for minutes, from a model; None to build it at every start.
    """

    providers: tuple[Provider, ...] = (Provider.CPU,)
    threads: int = 1
    precision: Precision = Precision.FLOAT32
    largest: int = 64
    engines: Path | None = None

    @classmethod
    def of(cls, deployment: Deployment, *, engines: Path | None = None) -> Self:
        """What a deployment declares."""
        runtime = deployment.runtime
        return cls(runtime.providers, runtime.threads, runtime.precision, deployment.batch.max_records, engines)

    @property
    def is_accelerated(self) -> bool:
        """Whether anything but the CPU is to execute the model."""
        return self.providers[0] is not Provider.CPU

    @property
    def device(self) -> str:
        """What latency curves are learned for: `cpu`, `cuda`, `tensorrt`, `cuda-float16`, `tensorrt-float16`."""
        half = "-float16" if self.precision is Precision.FLOAT16 else ""
        return f"{self.providers[0]}{half}"

    def warm_sizes(self, signature: Signature, sample: int) -> tuple[int, ...]:
        """Batch sizes to score once before records come, where there is a sample of so many rows."""
        if not self.is_accelerated:
            return 1, min(64, sample)
        largest = padded_size(self.largest, signature) or 2
        return tuple(2 << power for power in range(largest.bit_length() - 1))

    def session_providers(self, signature: Signature) -> list[tuple[str, Options]]:
        """Names and options of the providers, for a session. CUDA takes what TensorRT leaves, the CPU the rest."""
        wanted = [*self.providers, *((Provider.CUDA,) if Provider.TENSORRT in self.providers else ()), Provider.CPU]
        return [(PROVIDER_NAMES[provider], self._options(provider, signature)) for provider in dict.fromkeys(wanted)]

    def _options(self, provider: Provider, signature: Signature) -> Options:
        if provider is Provider.CUDA:
            # TF32 rounds the inputs of a matrix product to 10 bits of mantissa; answers must equal the CPU's closely.
            return {"use_tf32": "0"}
        if provider is Provider.TENSORRT:
            return self._tensorrt(signature)
        return {}

    def _tensorrt(self, signature: Signature) -> Options:
        options = {"trt_fp16_enable": "1"} if self.precision is Precision.FLOAT16 else {}
        if self.engines is not None:
            folder = str(self.engines)
            options |= {"trt_engine_cache_enable": "1", "trt_engine_cache_path": folder}
            options |= {"trt_timing_cache_enable": "1", "trt_timing_cache_path": folder}
        largest = padded_size(self.largest, signature)
        if largest is not None:  # one engine for all batch sizes, instead of one more whenever a larger batch comes
            for bound, rows in (("min", 2), ("opt", largest), ("max", largest)):
                shapes = (_shape_text(tensor, signature, rows) for tensor in signature.inputs)
                options[f"trt_profile_{bound}_shapes"] = ",".join(shapes)
        return options


def padded_size(rows: int, signature: Signature) -> int | None:
    """The batch size to which so many rows are filled up: the next power of two, at least two.

    An accelerator chooses or compiles kernels for each shape that it meets, so it is to meet few of them. None where
    padding makes no sense: a batch of more than 256 MiB, or one of texts, which no accelerator takes.
    """
    size = 1 << max(rows - 1, 1).bit_length()
    if any(feature.dtype is DType.STRING for feature in signature.features):
        return None
    return size if size * signature.row_bytes <= _LARGEST_BYTES else None


def _shape_text(tensor: ModelInput, signature: Signature, rows: int) -> str:
    shape = signature.feature(tensor.features[0]).shape or (len(tensor.features),)
    return f"{tensor.name}:{'x'.join(map(str, (rows, *shape)))}"
