"""The guard of a process in a container: `python guard.py COMMAND ARGUMENT...`, beside its `launch.json`.

It is the first process of the container. It gives the program its environment, which so stands in no description of the
container, hands on SIGTERM, kills what takes too long to end, and ends the program when its node's lease runs out: a
container outlives the daemon that started it, and the network between them.

It is run by its path in images that know nothing of the launcher, and imports the standard library alone.

    launch.json     environment, folder, grace_secs, and the lease: {"file": PATH}; or {"namespace": ..., "name": ...}
                    of a Lease of the Kubernetes API, which the container's service account may read
    stop            where it can be written from outside: end the program as SIGTERM does
"""

import json
import os
import signal
import ssl
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.request import Request, urlopen

LEASE_IS_OVER: Final = 121
"""Exit code of a guard whose node lost its lease."""
CANNOT_START: Final = 127
"""Exit code of a guard whose program is not there, as a shell's."""
SIGNALLED: Final = 128
"""Exit code of a guard whose program was ended by a signal: this and the signal's number."""

TURN_SECS: Final = 0.1
ASKING_SECS: Final = 1.0
FIRST_SECS: Final = 3.0
"""Within this time a lease that was just found must be renewed; its holder does so every second."""
AFTER_LEASE_SECS: Final = 1.0
"""Between the end of the lease and the kill: a commit in hand may still succeed."""
_SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_WATCHED: Final = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}


class Lease(Protocol):
    """Until when the program may run."""

    def is_over(self) -> bool:
        """Whether the time is up, or nobody can say that it is not."""


class LeaseFile:
    """A file of the node that holds the end, in seconds of CLOCK_BOOTTIME, which all containers of a machine share."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def is_over(self) -> bool:
        """See `Lease`."""
        try:
            return time.clock_gettime(time.CLOCK_BOOTTIME) > float(self._path.read_text())
        except (OSError, ValueError):
            return True


class LeaseObject:
    """A Lease of the Kubernetes API. Clocks of machines differ: what counts is how long ago it was seen to change."""

    def __init__(self, namespace: str, name: str, *, account: Path = _SERVICE_ACCOUNT) -> None:
        host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
        address = f"[{host}]" if ":" in host else host
        self._url = f"https://{address}:{port}/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}"
        self._account = account
        self._trust = ssl.create_default_context(cafile=str(account / "ca.crt"))
        self._renewed: str | None = None
        self._ask_at = 0.0
        self._until = time.monotonic() + FIRST_SECS

    def is_over(self) -> bool:
        """See `Lease`. Blocks for a second where the API does not answer."""
        if time.monotonic() >= self._ask_at:
            self._ask()
            self._ask_at = time.monotonic() + ASKING_SECS
        return time.monotonic() > self._until

    def _ask(self) -> None:
        asked = time.monotonic()
        try:
            found = self._get()["spec"]
            renewed, lasts = str(found["renewTime"]), float(found["leaseDurationSeconds"])
        except (OSError, ValueError, KeyError) as error:
            sys.stderr.write(f"the lease of this node cannot be read: {error}\n")
            return
        if self._renewed is None:
            self._until = asked + FIRST_SECS  # Nobody knows how old it is before it changes.
        elif renewed != self._renewed:
            # It may have been renewed as early as just after the question before.
            self._until = asked + lasts - ASKING_SECS
        self._renewed = renewed

    def _get(self) -> dict[str, Any]:
        token = (self._account / "token").read_text()  # It changes every hour.
        request = Request(self._url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310 -- https
        with urlopen(request, timeout=ASKING_SECS, context=self._trust) as answer:  # noqa: S310 -- https
            read: dict[str, Any] = json.load(answer)
        return read


class Guard:
    """Guards one program from its start to its end."""

    def __init__(self, folder: Path, command: Sequence[str]) -> None:
        self._stop_file = folder / "stop"
        self._launch: dict[str, Any] = json.loads((folder / "launch.json").read_text())
        self._command = list(command)
        lease = self._launch["lease"]
        self._lease: Lease = LeaseFile(Path(lease["file"])) if "file" in lease else LeaseObject(**lease)
        self._kill_at: float | None = None
        self._is_late = False

    def run(self) -> int:
        """Run the program, and return what this process shall exit with."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        if self._lease.is_over():
            return LEASE_IS_OVER
        try:
            child = self._start()
        except OSError as error:
            sys.stderr.write(f"cannot be started: {error.strerror}: {error.filename or self._command[0]}\n")
            return CANNOT_START
        while (status := _reap(child)) is None:
            self._tend(child)
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # What it started and left behind.
        if self._is_late:
            return LEASE_IS_OVER
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else SIGNALLED - code

    def _start(self) -> int:
        if self._launch["folder"]:
            os.chdir(self._launch["folder"])
        environment = {**os.environ, **self._launch["environment"]}
        return os.posix_spawnp(self._command[0], self._command, environment, setsid=True, setsigmask=[])

    def _tend(self, child: int) -> None:
        """Wait for a moment or a signal, and look after the program."""
        found = signal.sigtimedwait(_WATCHED, TURN_SECS)
        if (found and found.si_signo != signal.SIGCHLD) or self._stop_file.exists():
            self._stop(child, self._launch["grace_secs"])
        elif self._kill_at is None and self._lease.is_over():
            self._is_late = True
            self._stop(child, AFTER_LEASE_SECS)
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)

    def _stop(self, child: int, grace: float) -> None:
        """Ask the program to end, once; it is killed after `grace` seconds."""
        if self._kill_at is None:
            self._kill_at = time.monotonic() + grace
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGTERM)
                os.kill(child, signal.SIGCONT)  # One that is frozen would not hear it.


def _reap(child: int) -> int | None:
    """How the program ended, None while it runs. The first process of a container is the parent of all orphans."""
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG)) != (0, 0):
            if found[0] == child:
                return found[1]
    return None


def main() -> None:
    """Guard the program that the command line names."""
    sys.exit(Guard(Path(__file__).parent, sys.argv[1:]).run())


if __name__ == "__main__":
    main()
