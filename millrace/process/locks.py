"""One process at a time: a lock on a file, which the operating system drops when its holder dies."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file while inside, waiting for other processes (and other threads) to leave first.

    The file is left behind on purpose: removing it would let two processes hold locks on two files of one name.

    Raises:
        OSError: The file cannot be opened for writing.
    """
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
