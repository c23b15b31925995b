"""`python -m millrace.process.probe`: the health check of a container, which has no other program to ask with.

It asks the process that reads the same environment, and says by its exit code whether all is well.
"""

import http.client
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from http import HTTPStatus
from typing import Final

PORT: Final = "MILLRACE_HEALTH__PORT"
PATHS: Final = ("/readyz", "/livez")
_PATIENCE_SECS: Final = 4
"""Less than a container's health check is given, so that the reason is said."""


def main(arguments: Sequence[str]) -> int:
    """Ask for the path in the arguments, `/readyz` where there is none.

    Returns:
        0 when the process says yes, 1 when it says no or nothing, 2 when nobody can be asked.
    """
    path = arguments[0] if arguments else PATHS[0]
    port = os.environ.get(PORT, "")
    if path not in PATHS or not port.isdecimal() or int(port) == 0:
        sys.stderr.write(f"nobody to ask: write {' or '.join(PATHS)}, and set {PORT} to the port of the process\n")
        return 2
    try:
        return _ask(int(port), path)
    except (OSError, http.client.HTTPException) as error:
        sys.stderr.write(f"no answer from port {port}: {error}\n")
        return 1


def _ask(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_SECS)
    try:
        connection.request("GET", path)
        with closing(connection.getresponse()) as answer:
            sys.stdout.write(answer.read(1_000).decode("utf-8", "replace"))
            return 0 if answer.status == HTTPStatus.OK else 1
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
