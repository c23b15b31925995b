"""Requests of many connections become micro-batches of one model version.

The event loop collects, one micro-batch is scored at a time. When to send and how much is decided by the policy of the
topics' loop, `millrace.core.batching`. What a model answers in less time than a thread takes to wake is scored on the
event loop itself; the rest on a thread, so that the event loop goes on reading.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

from millrace.core.batching import BatchPolicy, Costs, Wait, decide
from millrace.core.clock import Clock
from millrace.core.columns import FeatureColumns
from millrace.core.errors import MillraceError
from millrace.core.outputs import Outputs
from millrace_gateway.logic.errors import LateError
from millrace_gateway.logic.gathering import Gathering
from millrace_gateway.logic.pending import Pending
from millrace_gateway.logic.scoring import Part, Scored, Scoring

_LEARN_EVERY: Final = timedelta(milliseconds=10)
"""A curve remembers some fifty observations; more of them a second teach it nothing."""
_PAUSE_SECS: Final = 0.001


@dataclass(frozen=True, slots=True)
class Answered:
    """The outputs of a request's rows, and the version that they are of."""

    outputs: Outputs
    version: int


class Outcome(Protocol):
    """Gets what becomes of a request, once. A future is one."""

    def done(self) -> bool:
        """Whether nobody waits any more: it has what it gets, or the client is gone."""
        ...

    def set_result(self, result: Answered, /) -> None:
        """The request is answered."""
        ...

    def set_exception(self, exception: BaseException, /) -> None:
        """It is not, for this reason."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class PendingRequest:
    """One request on its way.

    Attributes:
        columns: Its rows.
        event_id: Of its first row.
        key: Key of its records; None for the event ids.
        asked_at_ms: When it arrived, milliseconds since 1970.
        outcome: Gets the answer to all of its rows.
        traceparent: Of its span, for its records; None where it has none.
    """

    columns: FeatureColumns
    event_id: str
    key: str | None
    asked_at_ms: int
    outcome: Outcome
    traceparent: bytes | None = None


@dataclass(frozen=True, slots=True)
class ScoredRequests:
    """What one version answered to requests of one micro-batch.

    Attributes:
        requests: The requests.
        part: Their rows in order, and what the version answered.
        scored_at_ms: When, milliseconds since 1970.
    """

    requests: Sequence[PendingRequest]
    part: Part
    scored_at_ms: int


class Observer(Protocol):
    """Is told of micro-batches, for telemetry. Must be quick and must not raise."""

    def scored(self, *, requests: int, rows: int, waited: timedelta, took: timedelta) -> None:
        """A micro-batch was scored; its oldest request waited so long."""
        ...

    def late(self, requests: int) -> None:
        """Deadlines of this many requests passed before their turn."""
        ...


class MicroBatcher:
    """Scores the requests of one model version. For one event loop.

    Args:
        scoring: The model, or several at work together.
        policy: When to send and how much.
        costs: What micro-batches cost; kept learning.
        bound_rows: Most rows that wait.
        prompt_rows: Most rows that are scored on the event loop; 0 where all are scored on threads.
        threads: Where the others are scored.
        clock: Tells the time; monotonic seconds are the event loop's.
        settle: Told on the event loop of what each version answered in a micro-batch, before its requests are; answers
            them.
        observer: Told for telemetry.
    """

    def __init__(
        self,
        scoring: Scoring,
        policy: BatchPolicy,
        costs: Costs,
        *,
        bound_rows: int,
        prompt_rows: int = 0,
        threads: Executor,
        clock: Clock,
        settle: Callable[[ScoredRequests], None],
        observer: Observer,
    ) -> None:
        self._scoring = scoring
        self._policy = policy
        self._costs = costs
        self._prompt_rows = prompt_rows
        self._threads = threads
        self._clock = clock
        self._settle = settle
        self._observer = observer
        self._pending: Pending[PendingRequest] = Pending(bound_rows)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._gathering = Gathering()
        self._is_turn_due = False
        self._is_scoring = False
        self._learned_at = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is being scored."""
        return not self._is_scoring and not self._pending

    def add(self, request: PendingRequest, *, deadline: float, priority: int) -> None:
        """Let a request wait for its micro-batch; `request.outcome` gets what becomes of it, after this call.

        Args:
            request: The request.
            deadline: Monotonic seconds.
            priority: As in `Ask`.

        Raises:
            BusyError: There is no room.
        """
        self._pending.add(
            request,
            rows=len(request.columns),
            arrived=self._clock.monotonic(),
            deadline=deadline,
            priority=priority,
        )
        self._take_turn()

    async def drained(self) -> None:
        """Return when everything that was added has been scored."""
        while not self.is_idle:
            await asyncio.sleep(_PAUSE_SECS)

    def _take_turn(self) -> None:
        """Let a turn come once the event loop has nothing more to read: what there was is one micro-batch."""
        if not self._is_scoring and not self._is_turn_due:
            self._is_turn_due = True
            self._gathering.begin(len(self._pending), now=self._clock.monotonic())
            self._loop.call_soon(self._gather)

    def _gather(self) -> None:
        """Look again whether more has come; at last take the turn."""
        if self._gathering.is_over(len(self._pending), now=self._clock.monotonic()):
            self._is_turn_due = False
            self._turn()
        else:
            self._loop.call_soon(self._gather)

    def _turn(self) -> None:
        """Send a micro-batch, or see to it that one is sent in time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._clock.monotonic()
        self._pending.discard(_is_gone)
        if late := self._pending.expire(now):
            self._observer.late(len(late))
            for request in late:
                _fail(request, LateError("the request's deadline passed before its turn"))
        backlog = self._pending.backlog(now)
        if not backlog.records:
            return
        decision = decide(backlog, self._policy, self._costs)
        if isinstance(decision, Wait):
            self._timer = self._loop.call_later(max(decision.linger.total_seconds(), 0.0005), self._take_turn)
            return
        requests = self._pending.take(decision.records)
        if sum(len(request.columns) for request in requests) <= self._prompt_rows:
            self._score_here(requests, backlog.oldest)
        else:
            self._score_there(requests, backlog.oldest)

    def _score_here(self, requests: Sequence[PendingRequest], waited: timedelta) -> None:
        try:
            scored, took = self._score(requests)
        except BaseException as error:
            _fail_all(requests, error)
            self._take_turn()
            if isinstance(error, MillraceError):
                return
            raise
        self._scored(requests, scored, waited=waited, took=took)

    def _score_there(self, requests: Sequence[PendingRequest], waited: timedelta) -> None:
        def finish(done: "asyncio.Future[tuple[Scored, timedelta]]") -> None:
            self._is_scoring = False
            if (failure := done.exception()) is not None:
                _fail_all(requests, failure)
                self._take_turn()
            else:
                scored, took = done.result()
                self._scored(requests, scored, waited=waited, took=took)

        self._is_scoring = True
        self._loop.run_in_executor(self._threads, self._score, requests).add_done_callback(finish)

    def _score(self, requests: Sequence[PendingRequest]) -> tuple[Scored, timedelta]:
        """The whole micro-batch at once, on whatever thread."""
        started = self._clock.monotonic()
        scored = self._scoring.score(requests)
        return scored, timedelta(seconds=self._clock.monotonic() - started)

    def _scored(
        self, requests: Sequence[PendingRequest], scored: Scored, *, waited: timedelta, took: timedelta
    ) -> None:
        rows = sum(len(request.columns) for request in requests)
        self._learn(rows, took)
        self._observer.scored(requests=len(requests), rows=rows, waited=waited, took=took)
        for number, error in scored.refused.items():
            _fail(requests[number], error)
        scored_at_ms = self._clock.wall_ms()
        for part in scored.parts:
            self._settle(ScoredRequests([requests[number] for number in part.requests], part, scored_at_ms))
        if self._pending:
            self._take_turn()

    def _learn(self, rows: int, took: timedelta) -> None:
        now = self._clock.monotonic()
        if now - self._learned_at >= _LEARN_EVERY.total_seconds():
            self._learned_at = now
            self._costs.score.observe(rows, took)


def answer(scored: ScoredRequests) -> None:
    """Give every request the outputs of its rows."""
    part, start = scored.part, 0
    for request in scored.requests:
        stop = start + len(request.columns)
        if not request.outcome.done():
            request.outcome.set_result(Answered(part.outputs.take(slice(start, stop)), part.version))
        start = stop


def _fail(request: PendingRequest, error: BaseException) -> None:
    if not request.outcome.done():
        request.outcome.set_exception(error)


def _fail_all(requests: Sequence[PendingRequest], error: BaseException) -> None:
    for request in requests:
        _fail(request, error)


def _is_gone(request: PendingRequest) -> bool:
    return request.outcome.done()
