"""Requests of many connections become micro-batches of one model version.

The event loop collects; a thread scores, one micro-batch at a time. When to send and how much is decided by the policy
of the topics' loop, `millrace.core.batching`.
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
from millrace.core.outputs import Outputs
from millrace_gateway.logic.errors import LateError
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


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One request on its way.

    Attributes:
        columns: Its rows.
        event_id: Of its first row.
        key: Key of its records; None for the event ids.
        asked_at_ms: When it arrived, milliseconds since 1970.
        answered: Gets the answer to all of its rows.
    """

    columns: FeatureColumns
    event_id: str
    key: str | None
    asked_at_ms: int
    answered: asyncio.Future[Answered]


@dataclass(frozen=True, slots=True)
class ScoredItems:
    """What one version answered to requests of one micro-batch.

    Attributes:
        items: The requests.
        part: Their rows in order, and what the version answered.
        scored_at_ms: When, milliseconds since 1970.
    """

    items: Sequence[Item]
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
        threads: Where scoring happens.
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
        threads: Executor,
        clock: Clock,
        settle: Callable[[ScoredItems], None],
        observer: Observer,
    ) -> None:
        self._scoring = scoring
        self._policy = policy
        self._costs = costs
        self._threads = threads
        self._clock = clock
        self._settle = settle
        self._observer = observer
        self._pending: Pending[Item] = Pending(bound_rows)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._is_scoring = False
        self._learned_at = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is being scored."""
        return not self._is_scoring and not self._pending

    def add(self, item: Item, *, deadline: float, priority: int) -> None:
        """Let a request wait for its micro-batch; `item.answered` gets the outcome. `deadline` is monotonic seconds.

        Raises:
            BusyError: There is no room.
        """
        self._pending.add(
            item,
            rows=len(item.columns),
            arrived=self._clock.monotonic(),
            deadline=deadline,
            priority=priority,
        )
        if not self._is_scoring:
            self._turn()

    async def drained(self) -> None:
        """Return when everything that was added has been scored."""
        while not self.is_idle:
            await asyncio.sleep(_PAUSE_SECS)

    def _turn(self) -> None:
        """Send a micro-batch, or see to it that one is sent in time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._clock.monotonic()
        self._pending.discard(_is_gone)
        if late := self._pending.expire(now):
            self._observer.late(len(late))
            for item in late:
                _fail(item, LateError("the request's deadline passed before its turn"))
        backlog = self._pending.backlog(now)
        if not backlog.records:
            return
        decision = decide(backlog, self._policy, self._costs)
        if isinstance(decision, Wait):
            self._timer = self._loop.call_later(max(decision.linger.total_seconds(), 0.0005), self._turn)
            return
        items = self._pending.take(decision.records)
        self._is_scoring = True
        work = self._loop.run_in_executor(self._threads, self._score, items)
        work.add_done_callback(lambda done: self._scored(items, backlog.oldest, done))

    def _score(self, items: Sequence[Item]) -> tuple[Scored, timedelta]:
        """On a thread: the whole micro-batch at once."""
        started = self._clock.monotonic()
        scored = self._scoring.score(items)
        return scored, timedelta(seconds=self._clock.monotonic() - started)

    def _scored(
        self, items: Sequence[Item], waited: timedelta, done: "asyncio.Future[tuple[Scored, timedelta]]"
    ) -> None:
        self._is_scoring = False
        if (failure := done.exception()) is not None:
            for item in items:
                _fail(item, failure)
        else:
            scored, took = done.result()
            rows = sum(len(item.columns) for item in items)
            self._learn(rows, took)
            self._observer.scored(requests=len(items), rows=rows, waited=waited, took=took)
            for number, error in scored.refused.items():
                _fail(items[number], error)
            scored_at_ms = self._clock.wall_ms()
            for part in scored.parts:
                self._settle(ScoredItems([items[number] for number in part.requests], part, scored_at_ms))
        self._turn()

    def _learn(self, rows: int, took: timedelta) -> None:
        now = self._clock.monotonic()
        if now - self._learned_at >= _LEARN_EVERY.total_seconds():
            self._learned_at = now
            self._costs.score.observe(rows, took)


def answer(scored: ScoredItems) -> None:
    """Give every request the outputs of its rows."""
    part, start = scored.part, 0
    for item in scored.items:
        stop = start + len(item.columns)
        if not item.answered.done():
            item.answered.set_result(Answered(part.outputs.take(slice(start, stop)), part.version))
        start = stop


def _fail(item: Item, error: BaseException) -> None:
    if not item.answered.done():
        item.answered.set_exception(error)


def _is_gone(item: Item) -> bool:
    return item.answered.done()
