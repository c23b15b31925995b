"""The join's rules one by one; that their order does not matter is a property test."""

import sys
from datetime import timedelta

import numpy as np
import pytest

from millrace.core.audit.columns import Joined, Labels, Predictions
from millrace.core.audit.join import CREDITS, Join
from millrace.core.audit.snapshot import restore_snapshot, take_snapshot
from millrace.core.audit.windows import WindowSpec
from millrace.core.errors import FatalError, RequestError
from tests.audit_figures.joining import join_stream

SPEC = WindowSpec(
    label_horizon=timedelta(minutes=10), correction_horizon=timedelta(minutes=10), orphan_ttl=timedelta(minutes=5)
)
MINUTE = 60_000


def predictions(*rows: tuple[bytes, int], version: int = 1, score: float = 0.7) -> Predictions:
    count = len(rows)
    return Predictions(
        [event for event, _ in rows],
        np.array([time for _, time in rows], np.int64),
        np.full(count, version),
        np.zeros(count, np.int64),
        np.ones(count, np.int64),
        np.full((count, 1), score),
    )


def labels(*rows: tuple[bytes, int], label: float = 1.0, revision: int = 0, retracted: bool = False) -> Labels:
    count = len(rows)
    return Labels(
        [event for event, _ in rows],
        np.full(count, label),
        np.array([time for _, time in rows], np.int64),
        np.full(count, revision),
        np.full(count, retracted),
    )


def signs(joined: Joined) -> list[int]:
    return list(map(int, joined.labelled.signs))


def credited(joined: Joined) -> dict[str, int]:
    totals = joined.credits.sum(axis=0).tolist()
    return {name: total for name, total in zip(CREDITS, totals, strict=True) if total}


def test_a_label_joins_its_prediction_at_the_time_of_the_event() -> None:
    join = Join(SPEC)
    join.add_predictions(predictions((b"a", 1000)))
    joined = join.add_labels(labels((b"a", 4000)))
    assert signs(joined) == [1]
    assert joined.labelled_at.event_times_ms.tolist() == [1000]
    assert joined.labelled.delays_ms.tolist() == [3000]


def test_a_label_waits_for_its_prediction() -> None:
    join = Join(SPEC)
    assert signs(join.add_labels(labels((b"a", 4000)))) == []
    assert signs(join.add_predictions(predictions((b"a", 1000)))) == [1]


def test_one_label_judges_every_version() -> None:
    join = Join(SPEC)
    join.add_predictions(predictions((b"a", 0)))
    join.add_predictions(predictions((b"a", 0), version=2))
    joined = join.add_labels(labels((b"a", 4000)))
    assert sorted(joined.labelled_at.versions.tolist()) == [1, 2]


def test_a_repeat_is_counted_and_a_contradiction_too() -> None:
    join = Join(SPEC)
    assert credited(join.add_predictions(predictions((b"a", 0), (b"a", 0)))) == {"duplicates": 1}
    assert credited(join.add_predictions(predictions((b"a", 0), score=0.2))) == {"conflicts": 1}
    join.add_labels(labels((b"a", 1)))
    assert credited(join.add_labels(labels((b"a", 1)))) == {"duplicates": 1}
    assert credited(join.add_labels(labels((b"a", 1), label=0.0))) == {"conflicts": 1}


def test_a_correction_takes_back_and_adds() -> None:
    join = Join(SPEC)
    join.add_predictions(predictions((b"a", 0)))
    join.add_labels(labels((b"a", 1)))
    joined = join.add_labels(labels((b"a", 2), label=0.0, revision=1))
    assert (signs(joined), joined.labelled.labels.tolist()) == ([-1, 1], [1.0, 0.0])
    assert credited(joined) == {"corrections": 1}
    assert signs(join.add_labels(labels((b"a", 2), revision=0))) == []


def test_a_retraction_takes_back() -> None:
    join = Join(SPEC)
    join.add_predictions(predictions((b"a", 0)))
    join.add_labels(labels((b"a", 1)))
    assert signs(join.add_labels(labels((b"a", 2), revision=1, retracted=True))) == [-1]


@pytest.mark.parametrize("waits", [False, True], ids=["after", "before"])
def test_a_label_past_its_horizon_is_late_by_its_own_time(waits: bool) -> None:
    join, late = Join(SPEC), labels((b"a", 10 * MINUTE + 1))
    if waits:
        join.add_labels(late)
        joined = join.add_predictions(predictions((b"a", 0)))
        assert list(joined.late_waiting) == [b"a"]
    else:
        join.add_predictions(predictions((b"a", 0)))
        joined = join.add_labels(late)
        assert joined.late.tolist() == [0]
    assert signs(joined) == []
    assert credited(joined) == {"late": 1}


def test_a_correction_has_its_own_horizon() -> None:
    join = Join(SPEC)
    join.add_predictions(predictions((b"a", 0)))
    join.add_labels(labels((b"a", 1)))
    assert signs(join.add_labels(labels((b"a", 20 * MINUTE), revision=1))) == [-1, 1]
    assert join.add_labels(labels((b"a", 20 * MINUTE + 1), revision=2)).late.tolist() == [0]


def test_what_nothing_can_change_any_more_is_dropped_and_orphans_are_named() -> None:
    join = Join(SPEC)
    join.add_predictions(predictions((b"a", 0), (b"b", MINUTE)))
    join.add_labels(labels((b"lost", 0), (b"a", 1)))
    assert join.expire(6 * MINUTE) == [b"lost"]
    assert len(join) == 2
    assert join.expire(21 * MINUTE) == []
    assert len(join) == 1
    assert join.expire(22 * MINUTE) == []
    assert len(join) == 0
    late = join.add_predictions(predictions((b"c", 0)))
    assert (late.late.tolist(), late.fresh.tolist()) == ([0], [])


def test_the_bound_stops_with_words() -> None:
    join = Join(SPEC, max_events=2)
    with pytest.raises(FatalError, match="may hold 2"):
        join.add_predictions(predictions((b"a", 0), (b"b", 0), (b"c", 0)))
    assert len(join) == 0


def test_a_snapshot_continues_where_it_was_taken() -> None:
    join = Join(SPEC)
    join.add_predictions(predictions((b"a", 0), (b"b", 0)))
    join.add_predictions(predictions((b"a", 0), version=2))
    join.add_labels(labels((b"a", 1), (b"c", 1)))
    restored = restore_snapshot(take_snapshot(join), SPEC)
    for side in (join, restored):
        joined = side.add_labels(labels((b"a", 2), (b"b", 2), label=0.0, revision=1))
        assert sorted(signs(joined)) == [-1, -1, 1, 1, 1]
        assert side.expire(6 * MINUTE) == [b"c"]
        assert len(side) == 2
        side.expire(30 * MINUTE)
        assert len(side) == 0


@pytest.mark.parametrize("data", [b"", b"{}\n", b"not a snapshot", b'{"format": 9}\n'])
def test_what_is_no_snapshot_is_refused(data: bytes) -> None:
    with pytest.raises(RequestError):
        restore_snapshot(data, SPEC)


def test_bar_14_the_index_keeps_its_size_although_events_come_and_go() -> None:
    """A dictionary alone would double when its holes are as many as its keys."""
    held = 150_000
    join = Join(WindowSpec(label_horizon=timedelta(seconds=held // 1000)), bucket=timedelta(seconds=1))
    sizes = []
    for first in range(0, 5 * held, 10_000):
        join.add_predictions(predictions(*((b"e%d" % number, number) for number in range(first, first + 10_000))))
        join.expire(first)
        sizes.append(sys.getsizeof(join.held.index))
    after_the_first_horizon = sizes[held // 10_000 + 1 :]
    assert len(set(after_the_first_horizon)) == 1


def test_bar_14_memory_is_flat_after_the_first_horizon() -> None:
    """200,000 predictions, a tenth of them labelled, horizon of 5 s at 5,000 a second."""
    memory = join_stream(40, 5000, timedelta(seconds=5), batch=1000)
    third = len(memory.events) // 3
    assert max(memory.events) <= 5000 * 7
    assert max(memory.events[-third:]) <= 1.05 * max(memory.events[third:-third])
    assert len(set(memory.column_bytes[third:])) == 1
