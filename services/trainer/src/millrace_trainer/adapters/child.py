"""The training process: `python -I -u -m millrace_trainer.adapters.child TASK`.

It gives up its rights first and imports the user's module only then: bounded memory, processor time and files, no core
dump, no new privileges, death with its parent. The held-out rows are opened only after the function has returned. It
writes a bundle, or why there is none, into its folder; everything on its output is the log.
"""

import contextlib
import ctypes
import importlib
import json
import resource
import signal
import sys
import traceback
from pathlib import Path
from typing import Any, Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_WHY_CHARACTERS: Final = 500


def confine(*, memory_bytes: int, cpu_secs: int, file_bytes: int) -> None:
    """Give up rights."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    bounds = {
        resource.RLIMIT_AS: (memory_bytes, memory_bytes),
        # One second later the kernel kills, where the signal at the soft limit did not.
        resource.RLIMIT_CPU: (cpu_secs, cpu_secs + 1),
        resource.RLIMIT_FSIZE: (file_bytes, file_bytes),
        resource.RLIMIT_CORE: (0, 0),
    }
    for bound, value in bounds.items():
        with contextlib.suppress(ValueError, OSError):  # a stricter limit holds already, or the system has none
            resource.setrlimit(bound, value)


def main() -> int:
    """Confine this process and make the candidate; 0 where there is one."""
    task = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    confine(**task["limits"])
    sys.path[:0] = task["folders"]
    # Imported here, because NumPy reserves memory and starts threads when it is imported.
    making = importlib.import_module("millrace_trainer.adapters.making")
    try:
        making.make_candidate(task)
    except BaseException as error:  # noqa: BLE001 - whatever a user's function raises is told to the parent
        traceback.print_exc()
        _tell(task, f"{type(error).__name__}: {error}".splitlines()[0][:_WHY_CHARACTERS])
        return 1
    return 0


def _tell(task: dict[str, Any], why: str) -> None:
    Path(task["failure"]).write_text(why, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
