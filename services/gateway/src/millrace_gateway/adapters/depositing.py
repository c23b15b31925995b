"""Writing what clients send, on a thread of its own, and telling each of them where it lies."""

import asyncio
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, TypeAlias

import numpy as np

from millrace.core.errors import MillraceError
from millrace.core.records import OutputBatch
from millrace.kafka.placing import Placed, PlacingWriter
from millrace.kafka.receipts import Keyed, Receipt, ReceiptBook
from millrace.process.settings import KafkaSettings
from millrace_gateway.logic.errors import BusyError, LateError

Outcome: TypeAlias = Placed | MillraceError

_TURN: Final = timedelta(milliseconds=1)
_IDLE_SECS: Final = 0.1
_AT_ONCE: Final = 64
"""Most requests with a key that share a transaction."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """One request until its records are acknowledged."""

    batch: OutputBatch
    key: str | None
    digest: str
    answer: "asyncio.Future[Outcome]"
    loop: asyncio.AbstractEventLoop

    def settle(self, outcome: Outcome) -> None:
        """Answer, from any thread; a client that has left is told nothing."""
        self.loop.call_soon_threadsafe(self._settle, outcome)

    def _settle(self, outcome: Outcome) -> None:
        if not self.answer.done():
            self.answer.set_result(outcome)


@dataclass(slots=True)
class Depositor:
    """Writes batches. `deposit` belongs to an event loop; everything else happens on two threads.

    What has a key is written once, with a receipt, in transactions; what has none at least once, faster.

    Args:
        kafka: The cluster.
        now: Tells the time, milliseconds since 1970.
        bound_bytes: Most bytes that wait until they are acknowledged.
    """

    kafka: KafkaSettings
    now: Callable[[], int]
    bound_bytes: int
    _plain: "queue.SimpleQueue[_Waiting | None]" = field(default_factory=queue.SimpleQueue)
    _keyed: "queue.SimpleQueue[_Waiting | None]" = field(default_factory=queue.SimpleQueue)
    _held_bytes: int = 0
    _threads: list[threading.Thread] = field(default_factory=list)
    _is_over: Callable[[], bool] = field(default=lambda: False)

    def start(self) -> None:
        """Begin to write."""
        for work, name in ((self._write_plain, "deposit"), (self._write_keyed, "deposit-once")):
            thread = threading.Thread(target=work, name=name)
            thread.start()
            self._threads.append(thread)

    async def deposit(self, batch: OutputBatch, *, key: str | None, digest: str, within: timedelta) -> Placed:
        """Write records, and return where they lie.

        Args:
            batch: The records, each with its partition.
            key: Names the request, so that a repetition is answered and not written; None for no such name.
            digest: Digest of the request.
            within: Longest wait.

        Raises:
            BusyError: Too much waits already.
            LateError: The broker did not acknowledge them in time; they may be written all the same.
            MillraceError: What kept them away.
        """
        size = sum(map(len, filter(None, batch.values)))
        if self._held_bytes and self._held_bytes + size > self.bound_bytes:
            raise BusyError("too much waits for the broker already", remedy="try again in a moment")
        loop = asyncio.get_running_loop()
        waiting = _Waiting(batch, key, digest, loop.create_future(), loop)
        self._held_bytes += size
        try:
            (self._plain if key is None else self._keyed).put(waiting)
            async with asyncio.timeout(within.total_seconds()):
                outcome = await waiting.answer
        except TimeoutError:
            raise LateError(
                f"the broker did not acknowledge it within {within.total_seconds():g} s",
                remedy="it may be written all the same: repeat it with the same Idempotency-Key",
            ) from None
        finally:
            self._held_bytes -= size
        if isinstance(outcome, MillraceError):
            raise outcome
        return outcome

    def close(self, is_over: Callable[[], bool]) -> None:
        """Write what waits, and stop; what is not acknowledged when this says that it is over counts as lost."""
        self._is_over = is_over
        self._plain.put(None)
        self._keyed.put(None)
        for thread in self._threads:
            thread.join()

    def _write_plain(self) -> None:
        writer = PlacingWriter(self.kafka)
        is_open = True
        while is_open or (writer.in_flight and not self._is_over()):
            for waiting in _take(self._plain, block=is_open and not writer.in_flight, most=_AT_ONCE):
                if waiting is None:
                    is_open = False
                else:
                    writer.write(waiting.batch, waiting.settle)
            writer.serve(_TURN if writer.in_flight else timedelta(0))
        writer.close()

    def _write_keyed(self) -> None:
        book = ReceiptBook(self.kafka, self.now)
        is_open = True
        while is_open:
            found = _take(self._keyed, block=True, most=_AT_ONCE)
            is_open = None not in found
            entries = [each for each in found if each is not None]
            keyed = [Keyed(each.key or "", each.digest, each.batch) for each in entries]
            for waiting, outcome in zip(entries, book.write(keyed), strict=True):
                waiting.settle(_placed(outcome))
        book.close()


def _take(waiting: "queue.SimpleQueue[_Waiting | None]", *, block: bool, most: int) -> list[_Waiting | None]:
    """What waits now; at least one where it may block, for a while."""
    found: list[_Waiting | None] = []
    try:
        while len(found) < most:
            found.append(waiting.get(block=block and not found, timeout=_IDLE_SECS))
    except queue.Empty:
        pass
    return found


def _placed(outcome: Receipt | MillraceError) -> Outcome:
    if isinstance(outcome, MillraceError):
        return outcome
    return Placed(np.array(outcome.partitions, np.int32), np.array(outcome.offsets, np.int64))
