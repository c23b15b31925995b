"""Installing libraries into the environment of this node's daemon, which is that of the processes it starts."""

import importlib
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from millrace.core.errors import RequestError

_PATIENCE: Final = timedelta(minutes=9)
_LINES: Final = 3


def default_installer() -> tuple[str, ...]:
    """The command of uv where there is one, else of pip."""
    uv = shutil.which("uv")
    return (uv, "pip", "install", "--python", sys.executable) if uv else (sys.executable, "-m", "pip", "install")


def install(libraries: Mapping[str, str], *, installer: str = "") -> None:
    """Install exactly these versions; blocks until it is done.

    Args:
        libraries: Versions by distribution name.
        installer: The command that is given `NAME==VERSION` for each; uv's or pip's where empty.

    Raises:
        RequestError: They cannot be installed; says what the installer said.
    """
    wanted = [f"{name}=={version}" for name, version in sorted(libraries.items())]
    command = [*(shlex.split(installer) or default_installer()), *wanted]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE.total_seconds(), check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _refusal(wanted, str(error), command) from error
    if done.returncode != 0:
        raise _refusal(wanted, " ".join(done.stderr.strip().splitlines()[-_LINES:]), command)
    importlib.invalidate_caches()


def _refusal(wanted: list[str], why: str, command: list[str]) -> RequestError:
    return RequestError(
        f"{' '.join(wanted)} cannot be installed: {why or 'the installer did not say why'}",
        remedy=f"run it by hand on the node: {shlex.join(command)}",
    )
