"""Admission: whether a model may enter the registry.

Before a model is stored it must be a single-file ONNX model of standard operators that matches its signature, and it
must load and score its sample in a child process without rights (`millrace.serving.guard`). Nothing is unpickled, ever.
"""

import json
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from millrace.core.errors import FatalError, RequestError
from millrace.serving.bundle import LIMITS_BYTES, MODEL, Bundle, open_regular
from millrace.serving.inspection import HEAD_BYTES, sniff
from millrace.serving.manifest import BatchInvariance, RuntimeKind
from millrace.serving.refusal import ModelRefusedError, Refusal

_ENVIRONMENT: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "LC_ALL": "C.UTF-8", "PATH": ""}
_BASE_BYTES: Final = 3 << 30  # address space that the libraries reserve, most of it never touched
_COPIES: Final = 4  # bytes of the file, parsed graph, session, prepacked weights


@dataclass(frozen=True, slots=True)
class TrialBounds:
    """What the trial of a model may use.

    Attributes:
        memory_bytes: Besides several copies of the model itself.
        cpu: Processor time.
        wall: Time until the child is killed.
    """

    memory_bytes: int = 1 << 30
    cpu: timedelta = timedelta(seconds=60)
    wall: timedelta = timedelta(seconds=120)


def admit(bundle: Bundle, bounds: TrialBounds | None = None) -> BatchInvariance | None:
    """Try a bundle's model in a guarded child process. Blocks until the trial ends, seconds for a usual model.

    The bundle must lie in a folder that nobody else changes (`copy_bundle`).

    Returns:
        Whether its answers depend on the batch; None for a Python function, which is code and is not tried.

    Raises:
        ModelRefusedError: The model is not admitted; the reason is from a closed list.
    """
    if bundle.manifest.runtime is RuntimeKind.PYTHON:
        return None
    sniff_file(bundle.directory / MODEL)
    document = _ask_child(bundle, bounds or TrialBounds())
    if "invariance" in document:
        return BatchInvariance.model_validate_json(json.dumps(document["invariance"]))
    if document["refusal"] is None:
        raise RequestError(document["detail"], remedy=document["remedy"])
    raise ModelRefusedError(Refusal(document["refusal"]), document["detail"], remedy=document["remedy"])


def sniff_file(path: Path) -> None:
    """Refuse by its size and first bytes what is known not to be an ONNX model; nothing else is read.

    Raises:
        ModelRefusedError: `oversized`, `empty`, `pickle`, `weights_only` or `not_onnx`.
        RequestError: It is no regular file.
    """
    if path.is_file() and path.stat().st_size > LIMITS_BYTES[MODEL]:
        raise ModelRefusedError(Refusal.OVERSIZED, f"{path} has more than {LIMITS_BYTES[MODEL]} bytes")
    with open_regular(path, limit_bytes=LIMITS_BYTES[MODEL]) as file:
        sniff(file.read(HEAD_BYTES))


def _ask_child(bundle: Bundle, bounds: TrialBounds) -> dict[str, Any]:
    memory = _BASE_BYTES + bounds.memory_bytes + _COPIES * bundle.files[MODEL].bytes
    command = [sys.executable, "-I", "-m", "millrace.serving.guard", str(bundle.directory.resolve())]
    command += [str(memory), str(int(bounds.cpu.total_seconds()))]
    with tempfile.TemporaryDirectory(prefix="millrace-trial-") as folder:
        try:
            child = subprocess.run(
                command,
                cwd=folder,
                env=_ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=bounds.wall.total_seconds(),
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ModelRefusedError(Refusal.TOO_SLOW, f"no answer within {bounds.wall}") from None
    if child.returncode == 0:
        document: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
        return document
    raise _ended(child.returncode, child.stderr.decode(errors="replace"))


def _ended(code: int, said: str) -> RequestError | FatalError:
    """Why the child ended without an answer."""
    last = " ".join(said.split())[-300:]
    if code > 0:
        # The child's own code failed, not the model: no remedy that concerns the model would help.
        return FatalError(f"the trial of the model could not run: {last}", remedy="run `millrace doctor`")
    if -code == signal.SIGXCPU:
        return ModelRefusedError(Refusal.TOO_SLOW, "the trial used up its processor time")
    if -code == signal.SIGKILL or "bad_alloc" in last:
        return ModelRefusedError(Refusal.TOO_MUCH_MEMORY, "the trial ran out of memory")
    return ModelRefusedError(Refusal.CRASHED, f"the trial ended by {signal.Signals(-code).name} {last}".rstrip())
