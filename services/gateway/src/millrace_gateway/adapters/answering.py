"""From a request to its answer: find the model, check, wait for a micro-batch; the same for every door."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import count

from millrace.core.clock import Clock
from millrace.core.errors import MillraceError
from millrace.kafka.connection import Link
from millrace.process.deployment import LogMode
from millrace.telemetry.traces import CURRENT
from millrace_gateway.adapters.batching import Answered, Outcome, PendingRequest, ScoredRequests, answer
from millrace_gateway.adapters.journal import Journal
from millrace_gateway.adapters.models import Repository
from millrace_gateway.adapters.pages import Pages
from millrace_gateway.adapters.served import Served
from millrace_gateway.logic.asking import Answer, Ask
from millrace_gateway.logic.errors import BusyError, LateError
from millrace_gateway.logic.statistics import Tally
from millrace_gateway.logic.tensors import answer_tensors, check_outputs, columns_of


def event_id_source(nonce: str) -> Iterator[str]:
    """Ids that no other gateway gives: a text that is drawn for this process, and a number."""
    return map(f"{nonce}-{{:x}}".format, count())


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that waits for its answer.

    Attributes:
        served: The model that answers.
        ask: What was asked.
        event_id: Of its first row.
        started: When, monotonic seconds.
        timer: Ends the wait at the request's deadline.
    """

    served: Served
    ask: Ask
    event_id: str
    started: float
    timer: asyncio.TimerHandle


@dataclass(frozen=True, slots=True)
class Answering:
    """Answers requests. For one event loop.

    Attributes:
        repository: The models.
        journal: Where requests and answers are written.
        longest: Bound of a request's time, and its time where it names none.
        clock: Tells the time.
        event_ids: Ids for requests without one.
        answered: Told the deployment and the seconds of every request that is answered.
    """

    repository: Repository
    journal: Journal
    longest: timedelta
    clock: Clock
    event_ids: Iterator[str]
    answered: Callable[[str, float], None]

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
        outcome: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
        asked = self.begin(served, ask, outcome)
        try:
            answered = await outcome
        except MillraceError:
            self.fail(asked)
            raise
        finally:
            asked.timer.cancel()
        return self.finish(asked, answered)

    def begin(self, served: Served, ask: Ask, outcome: Outcome) -> Asked:
        """Let a request wait for its micro-batch; `outcome` gets what becomes of it, by its deadline.

        Whoever calls this hands the outcome to `finish` or `fail`.

        Raises:
            RequestError: The tensors are not what the model takes.
            InvalidRecordError: They hold what is no feature.
            BusyError: There is no room, or the answer must be logged and the broker is away.
        """
        started = self.clock.monotonic()
        timeout = min(ask.timeout or self.longest, self.longest).total_seconds()
        try:
            check_outputs(served.model.signature, ask.outputs)
            columns = columns_of(served.asked, ask.tensors)
            served.check_size(len(columns))
            if served.deployment.online.log is LogMode.REQUIRED:
                self._check_log(len(columns))
            event_id, now_ms = ask.id or next(self.event_ids), self.clock.wall_ms()
            request = PendingRequest(columns, event_id, ask.key, now_ms, outcome, CURRENT.get())
            served.batcher.add(request, deadline=started + timeout, priority=ask.priority)
        except MillraceError:
            self._count(served.statistics.failed, started)
            raise
        timer = asyncio.get_running_loop().call_later(timeout, _give_up, outcome, timeout)
        return Asked(served, ask, request.event_id, started, timer)

    def finish(self, asked: Asked, answered: Answered) -> Answer:
        """The answer to a request, whose outcome this is."""
        asked.timer.cancel()
        served = asked.served
        self.answered(served.deployment.deployment, self._count(served.statistics.succeeded, asked.started))
        tensors = answer_tensors(asked.served.model.signature, answered.outputs, asked.ask.outputs)
        return Answer(asked.ask.model, str(answered.version), asked.event_id, tensors)

    def fail(self, asked: Asked) -> None:
        """A request is not answered."""
        asked.timer.cancel()
        self._count(asked.served.statistics.failed, asked.started)

    def _count(self, tally: Tally, started: float) -> float:
        seconds = self.clock.monotonic() - started
        tally.add(timedelta(seconds=seconds))
        return seconds

    def _check_log(self, rows: int) -> None:
        if self.journal.link is Link.AWAY:
            raise BusyError("the broker is away, and this deployment answers nothing that is not logged")
        if not self.journal.has_room(rows):
            raise BusyError("the log is behind, and this deployment answers nothing that is not logged")


def settle_best_effort(journal: Journal, pages: Pages, scored: ScoredRequests) -> None:
    """Answer, and write what was answered as well as can be; the journal counts what it cannot write."""
    answer(scored)
    if not journal.write(pages, scored, _nothing):
        journal.lose(scored)


def settle_required(journal: Journal, pages: Pages, scored: ScoredRequests) -> None:
    """Write, and answer once the broker has it."""
    loop = asyncio.get_running_loop()

    def written(error: MillraceError | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_finish, scored, error)

    if not journal.write(pages, scored, written):
        _finish(scored, BusyError("the log is behind, and this deployment answers nothing that is not logged"))


def _finish(scored: ScoredRequests, error: MillraceError | None) -> None:
    if error is None:
        answer(scored)
        return
    for request in scored.requests:
        if not request.outcome.done():
            request.outcome.set_exception(error)


def _give_up(outcome: Outcome, timeout: float) -> None:
    if not outcome.done():
        outcome.set_exception(
            LateError(f"no answer within {timeout:g} s", remedy="give a longer timeout, or start another gateway")
        )


def _nothing(error: MillraceError | None) -> None:
    """What nobody waits for."""
