"""Processes of this machine, each with a keeper that outlives this daemon.

FOLDER/<deployment>.<kind>.<number>/<launch>/    see keeper.py; the latest launches of each slot
"""

import fcntl
import json
import os
import socket
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree
from typing import Any, Final
from zlib import crc32

from millrace.core.control.fleet import Slot
from millrace.core.errors import FatalError, RequestError
from millrace.process.lifecycle import DRAIN
from millrace_launcher.adapters import keeper
from millrace_launcher.logic.exits import explain_exit
from millrace_launcher.logic.ports import HEALTH_PORT, Launch, Running

_LOG_BYTES: Final = 4 << 20
_GRACE_SECS: Final = DRAIN.total_seconds() + 2
_KEPT: Final = 5
"""Launches of a slot whose logs are kept."""
_LINES_OF_REASON: Final = 50
_FORGOTTEN: Final = "forgotten"


@dataclass(frozen=True, slots=True)
class LocalRunner:
    """Runs processes of this machine. See `millrace_launcher.logic.ports.Runner`.

    Attributes:
        folder: Where everything that is known about them lies.
        lease: The file that says until when they may run, as seconds of CLOCK_BOOTTIME.
        log_bytes: Bound of each of a launch's two log files.
        grace_secs: Time to drain.
    """

    folder: Path
    lease: Path
    log_bytes: int = _LOG_BYTES
    grace_secs: float = _GRACE_SECS
    _keepers: set[int] = field(default_factory=set, init=False, repr=False, compare=False)
    _ended: dict[Path, Running] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What is over does not change any more, and its log is long."""

    def start(self, launch: Launch) -> None:
        """See `Runner.start`.

        Raises:
            FatalError: The folder cannot be written to.
        """
        latest = self._latest(launch.slot)
        if latest is not None and not self._look(launch.slot, latest).has_ended:
            raise RequestError(f"{launch.slot} runs already", remedy="drain it first")
        folder = self._of(launch.slot) / str(launch.launch)
        try:
            folder.mkdir(parents=True)
            document = folder / "launch.json"
            document.touch(mode=0o600)  # Among the environment are secrets.
            document.write_text(json.dumps(self._document(launch)))
            self._keepers.add(_start_keeper(folder))
        except OSError as error:
            raise FatalError(f"{folder} cannot be used: {error.strerror}", remedy="make room, or its rights") from error
        self._prune(launch.slot)

    def drain(self, slot: Slot) -> None:
        """See `Runner.drain`."""
        self._tell(slot, "stop")

    def kill(self, slot: Slot, *, why: str = "") -> None:
        """See `Runner.kill`."""
        self._tell(slot, "kill", why)

    def processes(self) -> Sequence[Running]:
        """See `Runner.processes`."""
        self._reap()
        latest = ((slot, self._latest(slot)) for slot in self._slots())
        return [self._look(slot, folder) for slot, folder in latest if folder and not (folder / _FORGOTTEN).exists()]

    def forget(self, slot: Slot) -> None:
        """See `Runner.forget`."""
        latest = self._latest(slot)
        if latest is not None and self._look(slot, latest).has_ended:
            (latest / _FORGOTTEN).touch()

    def log(self, slot: Slot, *, lines: int) -> Iterable[str]:
        """See `Runner.log`."""
        kept: deque[str] = deque(maxlen=lines)
        for launch in sorted(self._launches(slot), key=lambda path: int(path.name)):
            kept.extend(_lines(launch))
        return list(kept)

    def close(self) -> None:
        """See `Runner.close`."""

    def _look(self, slot: Slot, folder: Path) -> Running:
        if (known := self._ended.get(folder)) is not None:
            return known
        found = _running(slot, folder)
        if found.has_ended:
            self._ended[folder] = found
        return found

    def _reap(self) -> None:
        """Let go of keepers that have ended and were this process's children. Several threads may do so at once."""
        for pid in tuple(self._keepers):
            with suppress(ChildProcessError):  # Another thread was told of its end.
                if os.waitpid(pid, os.WNOHANG) == (0, 0):
                    continue
            self._keepers.discard(pid)

    def _document(self, launch: Launch) -> dict[str, Any]:
        return {
            "command": launch.command,
            "environment": dict(launch.environment),
            "folder": launch.folder,
            "lease": str(self.lease),
            "log_bytes": self.log_bytes,
            "grace_secs": self.grace_secs,
            "memory_bytes": launch.memory_bytes,
            "processors": _processors(launch),
        }

    def _tell(self, slot: Slot, what: str, why: str = "") -> None:
        latest = self._latest(slot)
        if latest is not None:
            partial = latest / f"{what}.partial"
            partial.write_text(why, encoding="utf-8")
            partial.replace(latest / what)

    def _of(self, slot: Slot) -> Path:
        return self.folder / f"{slot.deployment}.{slot.kind}.{slot.number}"

    def _slots(self) -> Iterator[Slot]:
        with suppress(FileNotFoundError):
            for found in sorted(self.folder.iterdir()):
                deployment, kind, number = found.name.rsplit(".", 2)
                yield Slot(deployment, kind, int(number))

    def _launches(self, slot: Slot) -> list[Path]:
        try:
            return [found for found in self._of(slot).iterdir() if (found / "launch.json").exists()]
        except FileNotFoundError:
            return []

    def _latest(self, slot: Slot) -> Path | None:
        return max(self._launches(slot), key=lambda path: int(path.name), default=None)

    def _prune(self, slot: Slot) -> None:
        for old in sorted(self._launches(slot), key=lambda path: int(path.name))[:-_KEPT]:
            rmtree(old, ignore_errors=True)


def _start_keeper(folder: Path) -> int:
    """Start the keeper with the lock of its folder in its hands: there is no moment in which nobody holds it."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        command = [sys.executable, "-I", "-S", str(Path(keeper.__file__)), str(folder)]
        # Not subprocess.Popen: the keeper is meant to outlive this process, which Popen calls a leak.
        os.set_inheritable(lock.fileno(), True)  # noqa: FBT003 -- its signature
        return os.posix_spawn(
            command[0],
            command,
            {"PATH": os.environ.get("PATH", os.defpath)},
            setsid=True,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(folder / "keeper.log"), os.O_WRONLY | os.O_CREAT, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
        )


def _is_kept(folder: Path) -> bool:
    """Whether a keeper lives and has not yet written down the end."""
    try:
        with (folder / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _running(slot: Slot, folder: Path) -> Running:
    # First whether it is kept, then its state: the other way round, an end in between would go unseen.
    is_kept = _is_kept(folder)
    state = _read_json(folder / "state.json")
    launch = _read_json(folder / "launch.json")
    port = launch.get("environment", {}).get(HEALTH_PORT)
    ended_ms = state.get("ended_ms")
    has_ended = ended_ms is not None or not is_kept
    why = ""
    if has_ended:
        lines = deque(_lines(folder), maxlen=_LINES_OF_REASON)
        why = explain_exit(state.get("exit_code"), state.get("noted", ""), list(lines))
    return Running(
        slot=slot,
        launch=int(folder.name),
        pid=state.get("pid"),
        url=f"http://127.0.0.1:{port}" if port else "",
        started_ms=state.get("started_ms", 0),
        is_draining=bool(state.get("asked")),
        has_ended=has_ended,
        ended_ms=(ended_ms or _latest_change_ms(folder)) if has_ended else None,
        exit_code=state.get("exit_code"),
        why=why,
        waits="" if has_ended or state.get("pid") else "starting",
    )


def _processors(launch: Launch) -> list[int]:
    """The processors that a process may run on: as many as it has cores, begun where its slot says."""
    all_of_them = sorted(os.sched_getaffinity(0))
    count = min(max(-int(-launch.cores // 1), 1), len(all_of_them))
    # Numbers of one workload follow each other; workloads of one process each shall not all be on the first processor.
    first = (crc32(f"{launch.slot.deployment}/{launch.slot.kind}".encode()) + launch.slot.number) % len(all_of_them)
    return [all_of_them[(first + step) % len(all_of_them)] for step in range(count)]


def _lines(folder: Path) -> Iterator[str]:
    for name in ("output.log.1", "output.log"):
        with suppress(FileNotFoundError), (folder / name).open(encoding="utf-8", errors="replace") as file:
            yield from map(str.rstrip, file)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        read: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return read


def _latest_change_ms(folder: Path) -> int:
    """When something was last known of a process whose end nobody saw."""
    return max((int(path.stat().st_mtime * 1000) for path in folder.iterdir()), default=0)


def free_port() -> int:
    """A port of this machine that is free now; a process that comes too late for it is started again with another."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
