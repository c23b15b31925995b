"""Requests of many connections as one micro-batch, on a real event loop and a real model."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
import pytest

from millrace.core.batching import BatchPolicy, Costs
from millrace.core.columns import FeatureColumns
from millrace.core.cost import LatencyCurve
from millrace.core.errors import InvalidRecordError, Reason
from millrace.core.outputs import Outputs
from millrace.process.clock import SystemClock
from millrace.serving.engine import Engine
from millrace.serving.loading import LoadedModel, load
from millrace.testing.models import linear_bundle, linear_signature
from millrace_gateway.adapters.batching import Answered, MicroBatcher, PendingRequest, ScoredRequests, answer
from millrace_gateway.logic.errors import BusyError, LateError
from millrace_gateway.logic.scoring import ModelScoring

CLOCK = SystemClock()
LONG = timedelta(minutes=5)
"""However busy the machine is, a test is over by then; none waits for it."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load(linear_bundle(tmp_path_factory.mktemp("model") / "bundle"))


@dataclass
class Noting:
    """A runtime that notes its batches, refuses rows that begin with 13, and fails at 14."""

    model: LoadedModel
    batches: list[int] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)
    is_asked: threading.Event = field(default_factory=threading.Event)
    may_score: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.may_score.set()

    def infer(self, columns: FeatureColumns) -> Outputs:
        self.is_asked.set()
        assert self.may_score.wait(LONG.total_seconds())
        if 14 in columns.column("a"):
            raise ZeroDivisionError
        if 13 in columns.column("a"):
            raise InvalidRecordError(Reason.MODEL_ERROR, "unlucky")
        self.batches.append(len(columns))
        self.threads.append(threading.current_thread())
        return self.model.runtime.infer(columns)


@dataclass
class Seen:
    """What an observer was told."""

    requests: list[int] = field(default_factory=list)
    lates: int = 0

    def scored(self, *, requests: int, rows: int, waited: timedelta, took: timedelta) -> None:
        self.requests.append(requests)

    def late(self, requests: int) -> None:
        self.lates += requests


@dataclass
class Asked:
    """A request, and what becomes of it."""

    request: PendingRequest
    outcome: asyncio.Future[Answered]


def asked(*first: float) -> Asked:
    values = np.array([[each, 1, 2] for each in first], np.float32)
    outcome: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
    return Asked(PendingRequest(FeatureColumns(linear_signature(), (values,)), "id", None, 0, outcome), outcome)


def add(batcher: MicroBatcher, *all_asked: Asked) -> None:
    for each in all_asked:
        batcher.add(each.request, deadline=in_time(), priority=0)


def with_batcher(
    model: LoadedModel,
    test: Callable[[MicroBatcher, Noting, Seen], Coroutine[object, object, None]],
    *,
    max_records: int = 1000,
    max_wait: timedelta = timedelta(0),
    bound_rows: int = 1000,
    prompt_rows: int = 0,
    settle: Callable[[ScoredRequests], None] = answer,
) -> None:
    async def run() -> None:
        noting, seen = Noting(model), Seen()
        policy = BatchPolicy(LONG, max_records, max_wait, 20_000, timedelta(milliseconds=50))
        with ThreadPoolExecutor(1) as threads:
            batcher = MicroBatcher(
                ModelScoring(1, Engine(noting, model.binner)),
                policy,
                Costs(LatencyCurve(), LatencyCurve()),
                bound_rows=bound_rows,
                prompt_rows=prompt_rows,
                threads=threads,
                clock=CLOCK,
                settle=settle,
                observer=seen,
            )
            async with asyncio.timeout(LONG.total_seconds()):
                await test(batcher, noting, seen)
                await batcher.drained()

    asyncio.run(run())


def in_time() -> float:
    return CLOCK.monotonic() + LONG.total_seconds()


@pytest.mark.parametrize("prompt_rows", [0, 1000])
def test_what_is_there_to_read_at_a_time_is_one_micro_batch(model: LoadedModel, prompt_rows: int) -> None:
    async def test(batcher: MicroBatcher, noting: Noting, seen: Seen) -> None:
        everybody = [asked(number) for number in range(5)]
        add(batcher, *everybody)
        answers = await asyncio.gather(*(each.outcome for each in everybody))
        assert (noting.batches, seen.requests) == ([5], [5])
        for each, found in zip(everybody, answers, strict=True):
            assert found.outputs.scores.tobytes() == model.runtime.infer(each.request.columns).scores.tobytes()

    with_batcher(model, test, prompt_rows=prompt_rows)


def test_what_comes_while_the_model_is_busy_is_the_next_micro_batch(model: LoadedModel) -> None:
    async def test(batcher: MicroBatcher, noting: Noting, seen: Seen) -> None:
        first, others = asked(0), [asked(number) for number in range(4)]
        noting.may_score.clear()
        add(batcher, first)
        while not noting.is_asked.is_set():
            await asyncio.sleep(0)
        add(batcher, *others)
        noting.may_score.set()
        await asyncio.gather(first.outcome, *(each.outcome for each in others))
        assert noting.batches == [1, 4]

    with_batcher(model, test)


def test_only_what_is_prompt_is_scored_on_the_event_loop(model: LoadedModel) -> None:
    async def test(batcher: MicroBatcher, noting: Noting, seen: Seen) -> None:
        small, large = asked(1, 2), asked(1, 2, 3)
        for each in (small, large):
            add(batcher, each)
            await each.outcome
        assert [each is threading.main_thread() for each in noting.threads] == [True, False]

    with_batcher(model, test, prompt_rows=2)


@pytest.mark.parametrize("prompt_rows", [0, 1])
def test_more_than_one_micro_batch_holds_is_scored_all_the_same(model: LoadedModel, prompt_rows: int) -> None:
    async def test(batcher: MicroBatcher, noting: Noting, seen: Seen) -> None:
        everybody = [asked(number / 1000) for number in range(1000)]
        add(batcher, *everybody)
        await asyncio.gather(*(each.outcome for each in everybody))
        assert noting.batches == [1] * 1000

    with_batcher(model, test, max_records=1, prompt_rows=prompt_rows)


def test_the_policy_may_wait_for_more(model: LoadedModel) -> None:
    async def test(batcher: MicroBatcher, noting: Noting, seen: Seen) -> None:
        first, second = asked(1, 2), asked(3)
        add(batcher, first)
        await asyncio.sleep(0)  # a turn that waits
        add(batcher, second)
        await asyncio.gather(first.outcome, second.outcome)
        assert noting.batches == [3]

    with_batcher(model, test, max_records=3, max_wait=LONG)


@pytest.mark.parametrize("prompt_rows", [0, 1000])
def test_a_refused_row_refuses_its_request_and_no_other(model: LoadedModel, prompt_rows: int) -> None:
    async def test(batcher: MicroBatcher, noting: Noting, seen: Seen) -> None:
        everybody = [asked(0), asked(1, 2), asked(3, 13, 4), asked(5)]
        add(batcher, *everybody)
        answers = await asyncio.gather(*(each.outcome for each in everybody), return_exceptions=True)
        assert isinstance(answers[2], InvalidRecordError)
        for index in (0, 1, 3):
            found, columns = answers[index], everybody[index].request.columns
            assert isinstance(found, Answered)
            assert found.outputs.scores.tobytes() == model.runtime.infer(columns).scores.tobytes()

    with_batcher(model, test, prompt_rows=prompt_rows)


def test_who_is_late_or_gone_is_not_scored(model: LoadedModel) -> None:
    async def test(batcher: MicroBatcher, noting: Noting, seen: Seen) -> None:
        busy, late, gone = asked(1), asked(2), asked(3)
        add(batcher, busy)
        batcher.add(late.request, deadline=CLOCK.monotonic(), priority=0)
        add(batcher, gone)
        gone.outcome.cancel()
        with pytest.raises(LateError):
            await late.outcome
        assert (noting.batches, seen.lates) == ([1], 1)

    with_batcher(model, test, prompt_rows=1)


def test_more_than_may_wait_is_refused(model: LoadedModel) -> None:
    async def test(batcher: MicroBatcher, noting: Noting, seen: Seen) -> None:
        add(batcher, asked(1, 2))
        with pytest.raises(BusyError):
            add(batcher, asked(3))

    with_batcher(model, test, bound_rows=2)


@pytest.mark.parametrize("prompt_rows", [0, 1000])
def test_a_fault_of_the_model_ends_its_requests_and_not_the_batcher(model: LoadedModel, prompt_rows: int) -> None:
    async def test(batcher: MicroBatcher, noting: Noting, seen: Seen) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # a fault on the event loop is told to it
        for number in (14, 1):
            each = asked(number)
            add(batcher, each)
            (outcome,) = await asyncio.gather(each.outcome, return_exceptions=True)
            assert isinstance(outcome, ZeroDivisionError if number == 14 else Answered)

    with_batcher(model, test, prompt_rows=prompt_rows)
