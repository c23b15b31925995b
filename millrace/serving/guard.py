"""The guarded child: `python -I -m millrace.serving.guard FOLDER MEMORY_BYTES CPU_SECONDS`.

It gives up its rights first and touches the model only then: bounded memory and processor time, no file may grow, no
core dump, no new privileges, no network where the kernel lets an ordinary process give it up, death with its parent.
It writes one JSON object: what the trial found, or why the model is refused.
"""

import contextlib
import ctypes
import importlib
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38


def confine(*, memory_bytes: int, cpu_seconds: int) -> None:
    """Give up rights. Must run before any library starts a thread, or the network cannot be given up."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        # Refused inside some containers; the other bounds hold there.
        if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
            libc.unshare(_CLONE_NEWNET)
    bounds = {
        resource.RLIMIT_AS: (memory_bytes, memory_bytes),
        # One second later the kernel kills, where the signal at the soft limit did not.
        resource.RLIMIT_CPU: (cpu_seconds, cpu_seconds + 1),
        resource.RLIMIT_FSIZE: (0, 0),
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_NOFILE: (256, 256),
    }
    for bound, value in bounds.items():
        with contextlib.suppress(ValueError, OSError):  # a stricter limit holds already, or the system has none
            resource.setrlimit(bound, value)


def answer(directory: Path) -> dict[str, Any]:
    """What the trial of the bundle found, as JSON."""
    # Imported here, because NumPy starts threads when it is imported.
    trial = importlib.import_module("millrace.serving.trial")
    errors = importlib.import_module("millrace.core.errors")
    try:
        return {"invariance": trial.try_bundle(directory).model_dump(mode="json")}
    except errors.RequestError as error:
        return {
            "refusal": getattr(error, "refusal", None),
            "detail": getattr(error, "detail", error.message),
            "remedy": error.remedy,
        }
    except MemoryError:
        return {"refusal": "too_much_memory", "detail": "Python ran out of the trial's memory", "remedy": ""}


def main() -> None:
    """Confine this process, try the model, write the answer."""
    directory, memory_bytes, cpu_seconds = sys.argv[1:]
    confine(memory_bytes=int(memory_bytes), cpu_seconds=int(cpu_seconds))
    text = json.dumps(answer(Path(directory)))
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
    os._exit(0)  # no destructor of a strange model's session runs


if __name__ == "__main__":
    main()
