"""Requests of many connections as one micro-batch, on a real event loop and a real model."""

import asyncio
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
from millrace_gateway.adapters.batching import Answered, Item, MicroBatcher, ScoredItems, answer
from millrace_gateway.logic.errors import BusyError, LateError
from millrace_gateway.logic.scoring import ModelScoring

CLOCK = SystemClock()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load(linear_bundle(tmp_path_factory.mktemp("model") / "bundle"))


@dataclass
class Noting:
    """A runtime that notes its batches, and refuses rows that begin with 13."""

    model: LoadedModel
    batches: list[int] = field(default_factory=list)

    def infer(self, columns: FeatureColumns) -> Outputs:
        if 13 in columns.column("a"):
            raise InvalidRecordError(Reason.MODEL_ERROR, "unlucky")
        self.batches.append(len(columns))
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


def item(*first: float) -> Item:
    values = np.array([[each, 1, 2] for each in first], np.float32)
    future: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
    return Item(FeatureColumns(linear_signature(), (values,)), "id", None, 0, future)


def with_batcher(
    model: LoadedModel,
    test: Callable[[MicroBatcher, Noting, Seen], Coroutine[object, object, None]],
    *,
    max_records: int = 1000,
    max_wait: timedelta = timedelta(0),
    bound_rows: int = 1000,
    settle: Callable[[ScoredItems], None] = answer,
) -> None:
    async def run() -> None:
        noting, seen = Noting(model), Seen()
        policy = BatchPolicy(timedelta(seconds=1), max_records, max_wait, 20_000, timedelta(milliseconds=50))
        with ThreadPoolExecutor(1) as threads:
            batcher = MicroBatcher(
                ModelScoring(1, Engine(noting, model.binner)),
                policy,
                Costs(LatencyCurve(), LatencyCurve()),
                bound_rows=bound_rows,
                threads=threads,
                clock=CLOCK,
                settle=settle,
                observer=seen,
            )
            async with asyncio.timeout(20):
                await test(batcher, noting, seen)
                await batcher.drained()

    asyncio.run(run())


def soon() -> float:
    return CLOCK.monotonic() + 10


def test_what_comes_while_the_model_is_busy_is_the_next_micro_batch(model: LoadedModel) -> None:
    async def test(batcher: MicroBatcher, noting: Noting, seen: Seen) -> None:
        items = [item(number) for number in range(5)]
        for each in items:  # the first one is sent at once, the others while it is being scored
            batcher.add(each, deadline=soon(), priority=0)
        answers = await asyncio.gather(*(each.answered for each in items))
        assert noting.batches == [1, 4]
        assert seen.requests == [1, 4]
        for each, found in zip(items, answers, strict=True):
            assert found.outputs.scores.tobytes() == model.runtime.infer(each.columns).scores.tobytes()

    with_batcher(model, test)


def test_the_policy_may_wait_for_more(model: LoadedModel) -> None:
    async def test(batcher: MicroBatcher, noting: Noting, seen: Seen) -> None:
        items = [item(1, 2), item(3)]
        for each in items:
            batcher.add(each, deadline=soon(), priority=0)
        await asyncio.gather(*(each.answered for each in items))
        assert noting.batches == [3]

    with_batcher(model, test, max_wait=timedelta(milliseconds=100))


def test_a_refused_row_refuses_its_request_and_no_other(model: LoadedModel) -> None:
    async def test(batcher: MicroBatcher, noting: Noting, seen: Seen) -> None:
        items = [item(0), item(1, 2), item(3, 13, 4), item(5)]
        for each in items:
            batcher.add(each, deadline=soon(), priority=0)
        answers = await asyncio.gather(*(each.answered for each in items), return_exceptions=True)
        assert isinstance(answers[2], InvalidRecordError)
        for index in (0, 1, 3):
            found, columns = answers[index], items[index].columns
            assert isinstance(found, Answered)
            assert found.outputs.scores.tobytes() == model.runtime.infer(columns).scores.tobytes()

    with_batcher(model, test)


def test_who_is_late_or_gone_is_not_scored(model: LoadedModel) -> None:
    async def test(batcher: MicroBatcher, noting: Noting, seen: Seen) -> None:
        busy, late, gone = item(1), item(2), item(3)
        batcher.add(busy, deadline=soon(), priority=0)
        batcher.add(late, deadline=CLOCK.monotonic(), priority=0)
        batcher.add(gone, deadline=soon(), priority=0)
        gone.answered.cancel()
        with pytest.raises(LateError):
            await late.answered
        assert (noting.batches, seen.lates) == ([1], 1)

    with_batcher(model, test)


def test_more_than_may_wait_is_refused(model: LoadedModel) -> None:
    async def test(batcher: MicroBatcher, noting: Noting, seen: Seen) -> None:
        for rows in ((0,), (1, 2)):
            batcher.add(item(*rows), deadline=soon(), priority=0)
        with pytest.raises(BusyError):
            batcher.add(item(3), deadline=soon(), priority=0)

    with_batcher(model, test, bound_rows=2)


def test_a_fault_of_the_model_ends_its_requests_and_not_the_batcher(model: LoadedModel) -> None:
    async def test(batcher: MicroBatcher, noting: Noting, seen: Seen) -> None:
        wrong = Item(FeatureColumns(linear_signature(), ()), "id", None, 0, item(1).answered)
        with pytest.raises(IndexError):
            batcher.add(wrong, deadline=soon(), priority=0)
        good = item(1)
        batcher.add(good, deadline=soon(), priority=0)
        assert len((await good.answered).outputs) == 1

    with_batcher(model, test)
