"""From a request to its answer: find the model, check, wait for a micro-batch; the same for every door."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import count

from millrace.core.clock import Clock
from millrace.core.errors import MillraceError
from millrace.kafka.connection import Link
from millrace.process.deployment import LogMode
from millrace_gateway.adapters.batching import Answered, Item, ScoredItems, answer
from millrace_gateway.adapters.journal import Journal
from millrace_gateway.adapters.models import Repository, Served
from millrace_gateway.adapters.pages import Pages
from millrace_gateway.logic.asking import Answer, Ask
from millrace_gateway.logic.errors import BusyError, LateError
from millrace_gateway.logic.tensors import answer_tensors, check_outputs, columns_of


def event_id_source(nonce: str) -> Iterator[str]:
    """Ids that no other gateway gives: a text that is drawn for this process, and a number."""
    return map(f"{nonce}-{{:x}}".format, count())


@dataclass(frozen=True, slots=True)
class Answering:
    """Answers requests. For one event loop.

    Attributes:
        repository: The models.
        journal: Where requests and answers are written.
        longest: Bound of a request's time, and its time where it names none.
        clock: Tells the time.
        event_ids: Ids for requests without one.
    """

    repository: Repository
    journal: Journal
    longest: timedelta
    clock: Clock
    event_ids: Iterator[str]

    async def answer(self, ask: Ask) -> Answer:
        """Answer a request.

        Raises:
            NotFoundError: There is no such model.
            RequestError: The tensors are not what the model takes.
            InvalidRecordError: The model refuses a row.
            BusyError: There is no room, or the answer must be logged and the broker is away.
            LateError: The deadline passed.
        """
        repository = self.repository
        served = repository.serving(ask.model, ask.version) or await repository.find(ask.model, ask.version)
        started = self.clock.monotonic()
        try:
            item, answered = await self._answered(served, ask, started)
        except MillraceError:
            served.statistics.failed.add(timedelta(seconds=self.clock.monotonic() - started))
            raise
        served.statistics.succeeded.add(timedelta(seconds=self.clock.monotonic() - started))
        tensors = answer_tensors(served.model.signature, answered.outputs, ask.outputs)
        return Answer(ask.model, str(answered.version), item.event_id, tensors)

    async def _answered(self, served: Served, ask: Ask, started: float) -> tuple[Item, Answered]:
        signature = served.model.signature
        check_outputs(signature, ask.outputs)
        columns = columns_of(signature, ask.tensors)
        if served.deployment.online.log is LogMode.REQUIRED:
            self._check_log(len(columns))
        timeout = min(ask.timeout or self.longest, self.longest).total_seconds()
        event_id = ask.id or next(self.event_ids)
        answered: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
        item = Item(columns, event_id, ask.key, self.clock.wall_ms(), answered)
        served.batcher.add(item, deadline=started + timeout, priority=ask.priority)
        try:
            async with asyncio.timeout(timeout):
                return item, await answered
        except TimeoutError:
            raise LateError(
                f"no answer within {timeout:g} s", remedy="give a longer timeout, or start another gateway"
            ) from None

    def _check_log(self, rows: int) -> None:
        if self.journal.link is Link.AWAY:
            raise BusyError("the broker is away, and this deployment answers nothing that is not logged")
        if not self.journal.has_room(rows):
            raise BusyError("the log is behind, and this deployment answers nothing that is not logged")


def settle_best_effort(journal: Journal, pages: Pages, scored: ScoredItems) -> None:
    """Answer, and write what was answered as well as can be; the journal counts what it cannot write."""
    answer(scored)
    if not journal.write(pages, scored, _nothing):
        journal.lose(scored)


def settle_required(journal: Journal, pages: Pages, scored: ScoredItems) -> None:
    """Write, and answer once the broker has it."""
    loop = asyncio.get_running_loop()

    def written(error: MillraceError | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_finish, scored, error)

    if not journal.write(pages, scored, written):
        _finish(scored, BusyError("the log is behind, and this deployment answers nothing that is not logged"))


def _finish(scored: ScoredItems, error: MillraceError | None) -> None:
    if error is None:
        answer(scored)
        return
    for item in scored.items:
        if not item.answered.done():
            item.answered.set_exception(error)


def _nothing(error: MillraceError | None) -> None:
    """What nobody waits for."""
