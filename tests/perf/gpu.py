"""A model on an accelerator beside the same model on the CPU: `python -m tests.perf.gpu`. One JSON line each.

Every way that a deployment can ask for, and ONNX Runtime as its documentation teaches it (`plain-...`: a session's
`run` on the rows as they are). Batches vary in size from one call to the next, by up to a fifth, as those of a stream
do: what has to choose its kernels for each new size shows it in the upper percentiles.
"""

import argparse
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from rich.table import Table

from millrace.core.columns import FeatureColumns
from millrace.core.errors import MillraceError, RequestError
from millrace.core.outputs import Outputs, read_outputs
from millrace.process.deployment import Precision, Provider
from millrace.serving.bundle import Bundle
from millrace.serving.execution import Execution, padded_size
from millrace.serving.onnx import OnnxRuntime, available_providers
from tests.perf.peers.cells import MATRIX, Cell
from tests.perf.telling import console, emit

CELLS: Final = ("linear-30", "mlp-30", "ffnn", "resnet50")
SIZES: Final = (1, 32, 1024, 16_384)
_FEWEST_CALLS: Final = 5

Infer = Callable[[FeatureColumns], Outputs]


@dataclass(frozen=True, slots=True)
class Found:
    """What one way of scoring one size of batches came to.

    Attributes:
        calls: How many batches were scored.
        rows_per_sec: Rows by time.
        p50_ms: Time of a call, median.
        p99_ms: Time of a call, 99th percentile.
        off: The largest difference from the CPU's scores.
    """

    calls: int
    rows_per_sec: float
    p50_ms: float
    p99_ms: float
    off: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every way that was asked for."""
    options = _parser().parse_args(arguments)
    emit("machine", onnxruntime=onnxruntime.__version__, python=platform.python_version())
    table = Table("model", "batch", "who", "rows/s", "p50 ms", "p99 ms", "off by")
    try:
        for name in options.cells:
            cell = Cell.named(name)
            with tempfile.TemporaryDirectory(prefix="millrace-gpu-") as folder:
                bundle = cell.bundle(Path(folder), name)
                for size, who, found in _cell(cell, bundle, options, Path(folder)):
                    emit("inference", cell=name, rows=size, who=who, **asdict(found))
                    times = (f"{value:.2f}" for value in (found.p50_ms, found.p99_ms))
                    table.add_row(name, f"{size:,}", who, f"{found.rows_per_sec:,.0f}", *times, f"{found.off:.0e}")
    except MillraceError as error:
        console.print(f"error: {error.message}\n{error.remedy}", markup=False)
        sys.exit(1)
    console.print(table)


def _cell(cell: Cell, bundle: Bundle, options: argparse.Namespace, folder: Path) -> Iterator[tuple[int, str, Found]]:
    columns = FeatureColumns(bundle.signature, (cell.rows.astype(np.float32),))
    sizes = [size for size in options.sizes if padded_size(size, bundle.signature) is not None]
    expected = OnnxRuntime(bundle.model or b"", bundle.signature).infer(columns)
    for who in options.who:
        console.print(f"{cell}: {who}")
        with _opened(who, bundle, max(sizes), folder) as infer:
            off = float(np.abs(infer(columns).scores - expected.scores).max())
            for size in sizes:
                yield size, who, _measure(infer, columns, size, options.seconds, off)


def _measure(infer: Infer, columns: FeatureColumns, size: int, seconds: float, off: float) -> Found:
    random = np.random.default_rng(size)
    largest = columns.take(np.arange(size) % len(columns))
    infer(largest)
    times: list[float] = []
    rows, spent = 0, 0.0
    while spent < seconds or len(times) < _FEWEST_CALLS:
        count = size - int(random.integers(0, size // 5 + 1))
        batch = largest.take(slice(0, count))
        begun = time.perf_counter()
        infer(batch)
        times.append(time.perf_counter() - begun)
        rows, spent = rows + count, spent + times[-1]
    p50, p99 = np.quantile(times, [0.5, 0.99]) * 1000
    return Found(len(times), round(rows / spent), round(float(p50), 3), round(float(p99), 3), off)


@contextmanager
def _opened(who: str, bundle: Bundle, largest: int, folder: Path) -> Iterator[Infer]:
    """A way of scoring, warm for batches of up to so many rows where it is millrace's."""
    signature, model = bundle.signature, bundle.model
    provider, _, precision = who.removeprefix("plain-").partition("-")
    execution = Execution(
        (Provider(provider),),
        precision=Precision(precision or "float32"),
        largest=largest,
        engines=folder / "engines",
    )
    if model is None:
        raise RequestError(f"{bundle.directory} has no ONNX model", remedy="name a cell with one")
    if who.startswith("plain-"):
        if execution.providers[0] not in available_providers():
            raise RequestError(f"ONNX Runtime has no provider {provider} here", remedy="install millrace[gpu]")
        session = onnxruntime.InferenceSession(model, providers=[execution.session_providers(signature)[0][0]])
        inputs, outputs = [tensor.name for tensor in signature.inputs], [signature.score_output]

        def run(columns: FeatureColumns) -> Outputs:
            tensors: tuple[NDArray[np.generic], ...] = columns.tensors
            found = session.run(outputs, dict(zip(inputs, tensors, strict=True)))
            return read_outputs(signature, dict(zip(outputs, found, strict=True)), len(columns))

        yield run
        return
    runtime = OnnxRuntime(model, signature, execution)
    try:
        sample = bundle.sample
        if sample is None:
            raise RequestError(f"{bundle.directory} has no sample", remedy="export it with one")
        for size in execution.warm_sizes(signature, len(sample)):
            runtime.infer(sample.take(np.arange(size) % len(sample)))
        yield runtime.infer
    finally:
        runtime.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.perf.gpu", description=__doc__)
    ways = [f"{provider}{half}" for provider in Provider for half in ("", "-float16")]
    ways.remove("cpu-float16")
    who = ["plain-cpu", "cpu", "plain-cuda", "cuda", "cuda-float16"]
    parser.add_argument("--who", nargs="+", choices=[*ways, *(f"plain-{each}" for each in Provider)], default=who)
    parser.add_argument("--cells", nargs="+", choices=MATRIX, default=CELLS, metavar="CELL")
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES, metavar="ROWS")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    return parser


if __name__ == "__main__":
    main()
