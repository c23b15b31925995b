"""Figures of the join: how many events a second, how many bytes an event, and whether memory stays flat: bar 14."""

import gc
import time
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import psutil
from numpy.typing import NDArray

from millrace.core.audit.columns import Labels, Predictions
from millrace.core.audit.join import Join
from millrace.core.audit.layout import Layout
from millrace.core.audit.pane import read_digits
from millrace.core.audit.partition import PartitionAudit
from millrace.core.audit.windows import WindowSpec
from millrace.core.profile import DIGITS, NumericCells
from millrace.core.signature import Task

Told = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Numbers of labelled events and the times of their labels."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What a run held after each step.

    Attributes:
        events: Events in the join.
        column_bytes: Bytes of its columns.
        rss_bytes: Memory of the whole process.
        cpu_seconds: Processor time inside the join, for all steps: this machine is shared.
        records: Predictions and labels that went in.
    """

    events: list[int]
    column_bytes: list[int]
    rss_bytes: list[int]
    cpu_seconds: float
    records: int


def join_stream(seconds: int, rate: int, horizon: timedelta, *, labelled: float = 0.1, batch: int = 10_000) -> Memory:
    """Join `rate` predictions a second for so many seconds of event time; some are labelled within the horizon."""
    spec = WindowSpec(label_horizon=horizon, orphan_ttl=horizon)
    join = Join(spec, bucket=horizon / 60)
    rng = np.random.default_rng(14)
    horizon_ms = horizon // timedelta(milliseconds=1)
    events, column_bytes, rss = [], [], []
    spent, records = 0.0, 0
    waiting: list[Told] = [(np.empty(0, np.int64), np.empty(0, np.int64))]
    process = psutil.Process()
    for first in range(0, seconds * rate, batch):
        numbers = np.arange(first, first + batch)
        predictions = _predictions(numbers, rate, rng)
        told = numbers[rng.random(batch) < labelled]
        waiting.append((told, told * 1000 // rate + rng.integers(0, horizon_ms, len(told))))
        now_ms = int(numbers[-1]) * 1000 // rate
        ready, waiting = _split(waiting, now_ms)
        labels = _labels(*ready)
        started = time.process_time()
        join.add_predictions(predictions)
        join.add_labels(labels)
        join.expire(now_ms)
        spent += time.process_time() - started
        records += batch + len(ready[0])
        events.append(len(join))
        column_bytes.append(join.held.size_bytes)
        rss.append(process.memory_info().rss)
    gc.collect()
    return Memory(events, column_bytes, rss, spent, records)


def count_stream(batches: int, batch: int, *, features: int) -> float:
    """Predictions and labels per second of processor time through join and counts, bins read from their characters."""
    cells = tuple(NumericCells(f"f{i}", tuple(map(float, range(10))), 10.0, (1,) * 13) for i in range(features))
    spec = WindowSpec(label_horizon=timedelta(minutes=5), size=timedelta(minutes=1))
    audit = PartitionAudit(spec, {1: Layout(Task.BINARY, ("no", "yes"), cells)})
    rng = np.random.default_rng(15)
    bins = [bytes(row) for row in rng.choice(np.frombuffer(DIGITS[:13], np.uint8), (batch, features))]
    spent = 0.0
    for number in range(batches):
        numbers = np.arange(number * batch, (number + 1) * batch)
        predictions, labels = _predictions(numbers, 10_000, rng), _labels(numbers, numbers // 10)
        started = time.process_time()
        audit.add_predictions(predictions, read_digits(bins, features))
        audit.add_labels(labels)
        audit.expire(int(numbers[-1]) // 10)
        spent += time.process_time() - started
    return 2 * batches * batch / spent


def _ids(numbers: NDArray[np.int64]) -> list[bytes]:
    return list(map(b"loans.features-0-%d".__mod__, numbers.tolist()))


def _predictions(numbers: NDArray[np.int64], rate: int, rng: np.random.Generator) -> Predictions:
    zeros = np.zeros(len(numbers), np.int64)
    scores = rng.random((len(numbers), 1))
    return Predictions(_ids(numbers), numbers * 1000 // rate, zeros + 1, zeros, zeros, scores)


def _labels(numbers: NDArray[np.int64], times: NDArray[np.int64]) -> Labels:
    zeros = np.zeros(len(numbers), np.int64)
    return Labels(_ids(numbers), zeros.astype(np.float64), times, zeros, zeros.astype(np.bool_))


def _split(waiting: list[Told], now_ms: int) -> tuple[Told, list[Told]]:
    numbers, times = (np.concatenate(parts) for parts in zip(*waiting, strict=True))
    ready = times <= now_ms
    return (numbers[ready], times[ready]), [(numbers[~ready], times[~ready])]
