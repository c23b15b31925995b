"""Worker processes, of which any may die at any time."""

import multiprocessing
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from multiprocessing.forkserver import ensure_running
from types import ModuleType
from typing import Final

from millrace_batch.adapters.worker import Assignment, Died, Told, work
from millrace_batch.logic.splits import Split

_FORKS: Final = multiprocessing.get_context("forkserver")
"""A process that has imported everything and started no thread is copied: importing takes a second, a copy no time. A
copy of this one would copy threads of Kafka's and ONNX Runtime's libraries that then hang."""

_FORKS.set_forkserver_preload(["millrace_batch.adapters.worker"])


def prepare() -> None:
    """Begin to import what workers need, in a process beside this one. Returns at once; `Pool` does it, too."""
    with _no_main():
        ensure_running()


@contextmanager
def _no_main() -> Iterator[None]:
    """Nothing that workers would have to import again, which is what multiprocessing tells them of `__main__`.

    They need nothing of the program that started them: importing it took each of them longer than to load its model.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@dataclass(frozen=True, slots=True)
class _Worker:
    process: ForkServerProcess
    connection: Connection


class Pool:
    """So many workers, each with a number. Close it, or use it in a `with`: then no process is left behind.

    Args:
        assignment: What all of them do.
        workers: How many.
    """

    def __init__(self, assignment: Assignment, workers: int) -> None:
        self.size: Final = workers
        self._assignment = assignment
        self._workers: dict[int, _Worker] = {}
        for number in range(workers):
            self.start(number)

    @property
    def pids(self) -> list[int]:
        """The processes, for people and for tests that kill them."""
        return [worker.process.pid or 0 for worker in self._workers.values()]

    def start(self, number: int) -> None:
        """Start a worker under a number that no other one has."""
        ours, theirs = _FORKS.Pipe()
        name = f"millrace-batch-{number}"
        process = _FORKS.Process(target=work, args=(self._assignment, theirs), name=name, daemon=True)
        with _no_main():
            process.start()
        theirs.close()
        self._workers[number] = _Worker(process, ours)

    def send(self, number: int, split: Split | None) -> None:
        """Give a worker a split, or let it go home. One that died meanwhile is heard of in `listen`."""
        try:
            self._workers[number].connection.send(split)
        except (BrokenPipeError, ConnectionResetError):
            return

    def listen(self, timeout: timedelta) -> Iterator[tuple[int, Told | Died]]:
        """What workers said within the time; a dead one is heard of once, after the last that it said."""
        by_connection = {worker.connection: number for number, worker in self._workers.items()}
        for ready in wait(list(by_connection), timeout.total_seconds()):
            assert isinstance(ready, Connection)  # noqa: S101 -- nothing else was waited for
            number = by_connection[ready]
            try:
                yield number, ready.recv()
            except (EOFError, ConnectionResetError):
                yield number, self._bury(number)

    def close(self) -> None:
        """End all workers, whatever they do."""
        for worker in self._workers.values():
            worker.process.kill()
        for number in list(self._workers):
            self._bury(number)

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _bury(self, number: int) -> Died:
        worker = self._workers.pop(number)
        worker.connection.close()
        worker.process.join()
        return Died(worker.process.exitcode)
