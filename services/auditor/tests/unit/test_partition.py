"""One partition of the join: what it counts, and its snapshot."""

from datetime import timedelta

import numpy as np
import pytest

from millrace.codec.audit_records import ReadLabels, VersionBlock
from millrace.codec.evidence import Span
from millrace.core.audit.columns import Labels, Predictions
from millrace.core.audit.layout import Layout
from millrace.core.audit.windows import WindowSpec
from millrace.core.errors import FatalError
from millrace.core.signature import Task
from millrace_auditor.logic.partition import CHUNK_BYTES, PartitionState, restore

MINUTE = 60_000
LAYOUT = Layout(Task.BINARY, ("no", "yes"))
SPEC = WindowSpec(label_horizon=timedelta(minutes=1), size=timedelta(minutes=1), out_of_orderness=timedelta(0))


def layout_of(version: int) -> Layout:
    assert version == 7
    return LAYOUT


def begin() -> PartitionState:
    return PartitionState.begin(3, SPEC, score_columns=1, max_events=100_000)


def block(first: int, count: int) -> VersionBlock:
    """Predictions, a second apart; the offset of each is its second."""
    numbers = np.arange(first, first + count)
    random = np.random.default_rng(first)
    ids = list(map(b"e%d".__mod__, numbers.tolist()))
    columns = Predictions(
        ids,
        numbers * 1000,
        np.full(count, 7),
        np.zeros(count, np.int64),
        np.ones(count, np.int64),
        random.random((count, 1)),
    )
    return VersionBlock(columns, numbers, np.empty((count, 0), np.uint8))


def labels(first: int, count: int) -> ReadLabels:
    numbers = np.arange(first, first + count)
    zeros = np.zeros(count, np.int64)
    ids = list(map(b"e%d".__mod__, numbers.tolist()))
    return ReadLabels(Labels(ids, np.ones(count), numbers * 1000 + 500, zeros, zeros.astype(np.bool_)), numbers)


def panes(state: PartitionState) -> list[tuple[int, Span, bytes]]:
    return [(key.start_ms, span, pane.to_json()) for key, span, pane in state.take_changed()]


def test_a_pane_knows_the_offsets_of_its_predictions() -> None:
    state = begin()
    state.add_predictions(7, block(30, 60), layout_of)
    assert [(start, span) for start, span, _ in panes(state)] == [(0, Span(30, 60)), (MINUTE, Span(60, 90))]


def test_a_restored_partition_goes_on_to_the_same_bytes() -> None:
    calm, first = begin(), begin()
    for state in (calm, first):
        state.add_predictions(7, block(0, 90), layout_of)
        state.add_labels(labels(0, 50))
        state.advance()
        state.position.next_prediction, state.position.next_label = 90, 50
        panes(state)
    second = restore(3, SPEC, dict(first.snapshot()), layout_of, max_events=100_000)
    assert second is not None
    assert second.position == first.position
    for state in (calm, second):
        state.add_labels(labels(50, 100))
        state.add_predictions(7, block(90, 60), layout_of)
        state.advance()
    assert panes(second) == panes(calm)
    assert second.snapshot() == calm.snapshot()


def test_a_large_snapshot_is_cut_and_put_together_again() -> None:
    state = begin()
    state.add_predictions(7, block(0, 80_000), layout_of)
    written = state.snapshot()
    assert len(written) > 2
    assert max(len(value) for _, value in written) <= CHUNK_BYTES
    restored = restore(3, SPEC, {**dict(written), b"join/99": b"left from a larger one"}, layout_of, max_events=100_000)
    assert restored is not None
    assert len(restored.audit.join) == 80_000


def test_a_partition_without_a_snapshot_begins() -> None:
    assert restore(3, SPEC, {b"judge": b"{}"}, layout_of, max_events=1) is None


def test_parts_of_different_snapshots_are_refused() -> None:
    one, other = begin(), begin()
    one.add_predictions(7, block(0, 10), layout_of)
    other.add_predictions(7, block(10, 10), layout_of)
    mixed = {**dict(one.snapshot()), b"join": dict(other.snapshot())[b"join"]}
    with pytest.raises(FatalError, match="partition 3"):
        restore(3, SPEC, mixed, layout_of, max_events=100)


def test_labels_that_waited_in_vain_are_told() -> None:
    state = begin()
    state.add_labels(labels(0, 1))
    state.add_predictions(7, block(20_000, 1), layout_of)
    assert state.advance() == [b"e0"]
    assert state.advance() == []
