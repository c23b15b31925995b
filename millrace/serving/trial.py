"""A model's first run: inspect it, load it, score sample rows in batches of several sizes. Runs in the guarded child.

The sizes show whether answers depend on the batch: exactly-once delivery may score a record a second time, in another
batch, and `millrace explain` scores it alone.
"""

from collections.abc import Sequence
from math import prod
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import numpy as np
import onnxruntime

from millrace.core.columns import FeatureColumns
from millrace.core.errors import FatalError, InvalidRecordError, RequestError
from millrace.core.outputs import Outputs
from millrace.core.profile import CategoryCells, Cells, ReferenceProfile
from millrace.core.signature import DType, Feature, Signature
from millrace.serving.bundle import open_bundle
from millrace.serving.inspection import inspect
from millrace.serving.manifest import BatchInvariance
from millrace.serving.onnx import OnnxRuntime
from millrace.serving.refusal import ModelRefusedError, Refusal
from millrace.serving.rows import columns_from_values
from millrace.serving.runtime import Runtime

BATCH_SIZES: Final = (1, 2, 7, 64, 1000)
_CALLS_PER_SIZE: Final = 16
_SECONDS_PER_BATCH: Final = 10.0
_LARGEST_BYTES: Final = 256 * 2**20


def try_bundle(directory: Path) -> BatchInvariance:
    """Inspect, load and warm up the ONNX model of a bundle.

    Raises:
        ModelRefusedError: The model is not admitted.
        RequestError: The folder is no bundle.
    """
    bundle = open_bundle(directory)
    if bundle.model is None:
        raise RequestError(f"{directory} has no ONNX model to try", remedy="admission tries only ONNX models")
    inspect(bundle.model.read_bytes(), bundle.signature)
    try:
        runtime = OnnxRuntime(bundle.model, bundle.signature)
    except RequestError as error:
        raise ModelRefusedError(Refusal.UNLOADABLE, error.message) from None
    rows = bundle.sample
    if rows is None or not len(rows):
        rows = rows_from_profile(bundle.signature, bundle.profile)
    try:
        return compare_batch_sizes(runtime, rows)
    except InvalidRecordError as error:
        raise ModelRefusedError(Refusal.CANNOT_SCORE, error.detail) from None
    except FatalError as error:
        raise ModelRefusedError(Refusal.SIGNATURE_MISMATCH, error.message) from None


def compare_batch_sizes(runtime: Runtime, rows: FeatureColumns, sizes: Sequence[int] = BATCH_SIZES) -> BatchInvariance:
    """Score the same rows in batches of each size and compare the bits.

    Sizes at which a slow model would need more than ten seconds a batch, or whose rows would not fit into 256 MiB, are
    left out.

    Raises:
        InvalidRecordError: The model fails on a row.
        FatalError: The model does not answer what its signature says.
    """
    affordable = tuple(size for size in sizes if size == 1 or size * rows.signature.row_bytes <= _LARGEST_BYTES)
    largest = rows.take(np.arange(max(affordable)) % len(rows))
    runtime.infer(largest.take(slice(0, 2)))  # the first call allocates
    started = perf_counter()
    runtime.infer(largest.take(slice(0, 2)))
    seconds_per_row = (perf_counter() - started) / 2
    compared = tuple(size for size in affordable if size <= 2 or size * seconds_per_row <= _SECONDS_PER_BATCH)
    largest = largest.take(slice(0, max(compared)))
    expected = runtime.infer(largest)
    differing = tuple(size for size in compared if not _agrees(runtime, largest, expected, size))
    return BatchInvariance(
        holds=not differing,
        batch_sizes=compared,
        differing=differing,
        rows=len(largest),
        runtime=f"onnxruntime {onnxruntime.__version__}",
    )


def rows_from_profile(signature: Signature, profile: ReferenceProfile, rows: int = 64) -> FeatureColumns:
    """Plausible rows for a bundle without a sample: the edges and values of its reference, in changing combinations.

    Fewer of them where they are large, but one at least.
    """
    rows = max(1, min(rows, _LARGEST_BYTES // signature.row_bytes))
    cells = {entry.feature: entry for entry in profile.cells}
    values = {
        feature.name: _values(feature, cells.get(feature.name), rows, stride)
        for stride, feature in enumerate(signature.features, start=1)
    }
    return columns_from_values(signature, values)


def _values(feature: Feature, cells: Cells | None, rows: int, stride: int) -> Any:  # noqa: ANN401 - of the feature's type
    if feature.shape:
        count = rows * prod(feature.shape)
        return np.linspace(-1, 1, count).reshape(rows, *feature.shape).astype(feature.dtype.numpy)
    known: Sequence[Any] = ()
    if isinstance(cells, CategoryCells):
        known = [value == "true" for value in cells.top] if feature.dtype is DType.BOOL else cells.top
    elif cells is not None and cells.upper is not None:
        known = (*cells.lowers, cells.upper)
    known = known or ("",) if feature.dtype is DType.STRING else known or (0,)
    return [known[row * stride % len(known)] for row in range(rows)]


def _agrees(runtime: Runtime, rows: FeatureColumns, expected: Outputs, size: int) -> bool:
    starts = range(0, len(rows) - size + 1, size)[:_CALLS_PER_SIZE]
    return all(
        _same_bits(runtime.infer(rows.take(slice(start, start + size))), expected.take(slice(start, start + size)))
        for start in starts
    )


def _same_bits(left: Outputs, right: Outputs) -> bool:
    if left.scores.tobytes() != right.scores.tobytes():
        return False
    return left.labels is None or right.labels is None or np.array_equal(left.labels, right.labels)
