"""What this node has: cores, memory, GPUs, and the versions of what is installed."""

import hashlib
import os
import subprocess
from collections.abc import Mapping
from importlib.metadata import distributions
from typing import Final

import psutil

from millrace.core.control.fleet import Inventory

TELLING: Final = (
    "millrace",
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "pyarrow",
    "confluent-kafka",
    "scikit-learn",
    "lightgbm",
    "xgboost",
    "torch",
)
"""Libraries on which answers depend; their versions are told one by one, all others by a fingerprint."""


def take_inventory(kinds: tuple[str, ...], *, cores: float | None, memory_bytes: int | None, runner: str) -> Inventory:
    """Look at this machine. Blocks for some tens of milliseconds; longer where there are GPUs.

    Args:
        kinds: The kinds of process that it can run.
        cores: Cores that it may give away; None for all that this process may use.
        memory_bytes: Memory that it may give away; None for all.
        runner: What runs its processes.
    """
    installed = installed_versions()
    return Inventory(
        cores=float(len(os.sched_getaffinity(0))) if cores is None else cores,
        memory_bytes=psutil.virtual_memory().total if memory_bytes is None else memory_bytes,
        gpus=gpu_names(),
        kinds=kinds,
        libraries={name: installed[name] for name in TELLING if name in installed},
        environment=fingerprint(installed),
        runner=runner,
    )


def installed_versions() -> Mapping[str, str]:
    """The versions of all installed distributions, by name; of several the one that an import finds."""
    versions: dict[str, str] = {}
    for found in distributions():
        if found.name:
            versions.setdefault(found.name.lower().replace("_", "-"), found.version)
    return versions


def fingerprint(versions: Mapping[str, str]) -> str:
    """Equal where all names and versions are equal."""
    listed = "\n".join(f"{name}=={version}" for name, version in sorted(versions.items()))
    return hashlib.sha256(listed.encode()).hexdigest()[:16]


def gpu_names() -> tuple[str, ...]:
    """The names of the GPUs, by index; none where there is no driver."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in listed.splitlines() if line.strip())
