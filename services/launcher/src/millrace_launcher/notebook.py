"""`python -m millrace_launcher.notebook [OPTIONS...]`: JupyterLab as a process that the launcher runs.

It listens on this machine alone, on the port of `MILLRACE_HEALTH__PORT`, in the folder in which it is started; options
are JupyterLab's own. Its address with the token is in its log: `millrace job logs JOB`. Notebooks have the environment
of the node, so `millrace.client` needs no address.
"""

import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final

PORT: Final = "MILLRACE_HEALTH__PORT"
_MODULE: Final = "jupyterlab"


def command(arguments: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """JupyterLab's command line."""
    port = environment.get(PORT, "8888")
    return [
        sys.executable,
        "-m",
        _MODULE,
        "--no-browser",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        *arguments,
    ]


def main() -> None:
    """Become JupyterLab; returns only where there is none."""
    if importlib.util.find_spec(_MODULE) is None:
        sys.exit("JupyterLab is not installed on this node (pip install 'millrace[notebook]')")
    os.execv(sys.executable, command(sys.argv[1:], os.environ))  # noqa: S606 -- nobody else chose the program


if __name__ == "__main__":
    main()
