"""How many processes work for a deployment, and what each may use."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

from millrace.process.deployment.autoscale import AutoScale
from millrace.process.settings import FROZEN


class Scale(BaseModel):
    """How many processes work for the deployment, and what each may use. The launcher reads it; services do not."""

    model_config = FROZEN

    scorers: Annotated[int, Field(ge=0, le=1_000)] = 1
    """Scorers. More than the source has partitions are idle, except in `shared` delivery."""
    auto: AutoScale | None = None
    """How their number follows the load; absent, it does not, and is what `scorers` says."""
    auditors: Annotated[int, Field(ge=0, le=1_000)] = 0
    """Auditors. None, because without labels there is little to audit."""
    gateways: Annotated[int, Field(ge=0, le=1_000)] = 0
    """Gateways. None, because a topic needs no door."""
    materializers: Annotated[int, Field(ge=0, le=1_000)] = 0
    """Materializers of the predictions."""
    training: Path | None = None
    """Training document of the deployment's model, on a path that every node has; a trainer runs where there is one."""
    cores: Annotated[float, Field(gt=0, le=1_024)] = 0.5
    """Processor cores that one process is counted with; no node is given more than it has. A scorer on one thread with
    time to wait for records is busy half of the time."""
    memory_mb: Annotated[int, Field(ge=64)] = 1_024
    """Most memory of one process, MiB. One that takes more is ended, and says so."""
    gpus: Annotated[int, Field(ge=0, le=64)] = 0
    """GPUs of one scorer, for it alone."""
    libraries: Mapping[str, str] = {}
    """Exact versions of libraries that a node must have: `onnxruntime: 1.32.0`."""
    runner: Annotated[str, Field(pattern=r"^[a-z0-9-]*$")] = ""
    """Only nodes whose `MILLRACE_LAUNCHER__RUNNER` is this run the processes: `local`, `container`, `kubernetes`.

    Any node runs them where it is empty."""
