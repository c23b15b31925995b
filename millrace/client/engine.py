"""The container engine of this machine, as the doctor looks at it."""

from pathlib import Path
from typing import Final

import httpx

from millrace.core.errors import TransientError

_PATIENCE_SECS: Final = 10.0


def engine_version(socket: Path) -> str:
    """Which engine listens on a socket. Blocks for ten seconds at most.

    Raises:
        TransientError: None that answers as Docker does.
    """
    if not socket.exists():  # The client would leave a socket open that leads nowhere.
        raise TransientError(f"{socket} is not there")
    try:
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), timeout=_PATIENCE_SECS) as client:
            return str(client.get("http://engine/version").raise_for_status().json()["Version"])
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise TransientError(f"{socket}: {error}") from error
