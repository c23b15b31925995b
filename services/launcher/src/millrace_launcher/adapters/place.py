"""The folder of a node: who runs there, until when its processes may run, and the token of its REST API."""

import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from millrace.core.errors import RequestError

TOKEN_FILE: Final = "launcher.token"  # noqa: S105 -- its name and not the token
_OWNER_ONLY: Final = 0o700


@dataclass(frozen=True, slots=True)
class NodeFolder:
    """`<home>/nodes/<node>`.

    Attributes:
        home: The folder of millrace on this machine.
        node: The node's name.
    """

    home: Path
    node: str

    @property
    def path(self) -> Path:
        """The folder."""
        return self.home.absolute() / "nodes" / self.node

    @property
    def processes(self) -> Path:
        """Where the processes are written down."""
        return self.path / "processes"

    @property
    def lease(self) -> Path:
        """Until when the node's processes may run, as seconds of CLOCK_BOOTTIME. Its folder is shown to containers."""
        return self.path / "standing" / "lease"

    @property
    def containers(self) -> Path:
        """Where it is written down what containers shall start."""
        return self.path / "containers"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Be the one daemon of this folder while inside.

        Raises:
            RequestError: Another daemon runs here, or the folder cannot be used.
        """
        try:
            # What a process is started with may hold secrets.
            self.path.mkdir(parents=True, exist_ok=True, mode=_OWNER_ONLY)
            lock = (self.path / "daemon.lock").open("a")
        except OSError as error:
            raise RequestError(
                f"{self.path} cannot be used: {error.strerror}", remedy="make it writable, or set MILLRACE_HOME"
            ) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RequestError(
                    f"node {self.node!r} runs already in {self.path}", remedy="name another node: --node NAME"
                ) from None
            try:
                yield
            finally:
                with suppress(FileNotFoundError):
                    (self.path / "daemon.json").unlink()

    def announce(self, url: str) -> None:
        """Write down where the REST API is, for commands on this machine. For the one who holds the folder."""
        partial = self.path / "daemon.partial"
        partial.write_text(json.dumps({"pid": os.getpid(), "node": self.node, "url": url}))
        partial.replace(self.path / "daemon.json")

    def renew(self, sent: float, lease: timedelta) -> None:
        """The node was heard: its processes may run on.

        Args:
            sent: When the heartbeat was sent, not when it was acknowledged; `boot_seconds`.
            lease: How long after that they may run.
        """
        self.lease.parent.mkdir(exist_ok=True)
        partial = self.lease.with_name("lease.partial")
        partial.write_text(f"{sent + lease.total_seconds():.3f}")
        partial.replace(self.lease)

    def lease_end(self) -> float:
        """Until when the node's processes may run; a lease that cannot be read has ended."""
        try:
            return float(self.lease.read_text())
        except (OSError, ValueError):
            return 0.0


def boot_seconds() -> float:
    """The clock of leases: goes on while the machine sleeps, and is the same for all processes."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def own_token(home: Path) -> str:
    """The token of this machine's daemons, made up at the first call; its file is for its owner alone."""
    path = home / TOKEN_FILE
    with suppress(FileExistsError):
        home.mkdir(parents=True, exist_ok=True)
        made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(made, "w") as file:
            file.write(secrets.token_urlsafe(32))
    return path.read_text().strip()
