"""Who does what this process does."""

import getpass
import socket


def who_am_i() -> str:
    """Whom the history names for what this process does: `user@machine`."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container may have no name for its user
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
