"""Worker processes, of which any may die at any time."""

import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from millrace_batch.adapters.worker import Assignment, Told, work
from millrace_batch.logic.splits import Split

_SPAWN = multiprocessing.get_context("spawn")  # a fork would copy threads of ONNX Runtime that then hang


@dataclass(frozen=True, slots=True)
class Died:
    """A worker process is gone, with this exit code; below zero the signal that killed it."""

    exit_code: int | None


@dataclass(frozen=True, slots=True)
class _Worker:
    process: SpawnProcess
    connection: Connection


class Pool:
    """So many workers, each with a number. Close it, or use it in a `with`: then no process is left behind.

    Args:
        assignment: What all of them do.
        workers: How many.
    """

    def __init__(self, assignment: Assignment, workers: int) -> None:
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
        ours, theirs = _SPAWN.Pipe()
        name = f"millrace-batch-{number}"
        process = _SPAWN.Process(target=work, args=(self._assignment, theirs), name=name, daemon=True)
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
