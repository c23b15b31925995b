"""The join and the panes of one partition together."""

import numpy as np
import pytest

from millrace.core.audit.columns import Labels, Predictions
from millrace.core.audit.layout import Layout
from millrace.core.audit.pane import PaneKey, read_digits
from millrace.core.audit.partition import PartitionAudit
from millrace.core.errors import FatalError
from millrace.core.signature import Task
from tests.unit.audit.test_join import MINUTE, SPEC
from tests.unit.audit.test_pane import BINARY

HOUR = 60 * MINUTE


def predictions(times: list[int], *, version: int = 1, segments: list[int] | None = None) -> Predictions:
    count = len(times)
    return Predictions(
        list(map(b"e-%d".__mod__, times)),
        np.array(times, np.int64),
        np.full(count, version),
        np.array(segments or [0] * count),
        np.ones(count, np.int64),
        np.full((count, 1), 0.7),
    )


def labels(times: list[int], at: int) -> Labels:
    count = len(times)
    return Labels(
        list(map(b"e-%d".__mod__, times)),
        np.ones(count),
        np.full(count, at),
        np.zeros(count, np.int64),
        np.zeros(count, np.bool_),
    )


def audit(times: list[int], **options: list[int]) -> PartitionAudit:
    partition = PartitionAudit(SPEC, {1: BINARY})
    partition.add_predictions(predictions(times, **options), read_digits([b"21"] * len(times), 2))  # type: ignore[arg-type]
    return partition


def test_events_are_counted_in_the_pane_and_segment_of_their_time() -> None:
    partition = audit([0, 1, HOUR], segments=[0, 3, 0])
    counts = {key: pane.count("predictions") for key, pane in partition.panes.items()}
    assert counts == {PaneKey(1, 0, 0): 1, PaneKey(1, 3, 0): 1, PaneKey(1, 0, HOUR): 1}


def test_a_label_changes_the_pane_of_its_event_only() -> None:
    partition = audit([0, HOUR - 1, HOUR])
    assert len(partition.take_changed()) == 2
    partition.add_labels(labels([HOUR - 1], at=HOUR + 5))
    [(key, pane)] = partition.take_changed().items()
    assert (key.start_ms, pane.count("labelled")) == (0, 1)
    assert partition.take_changed() == {}


def test_repeats_are_counted_in_the_pane_of_their_event() -> None:
    partition = audit([0])
    partition.add_predictions(predictions([0]), read_digits([b"21"], 2))
    assert partition.panes[PaneKey(1, 0, 0)].count("duplicates") == 1
    assert partition.panes[PaneKey(1, 0, 0)].count("predictions") == 1


def test_old_panes_are_forgotten_once_their_evidence_is_taken() -> None:
    partition = audit([0, 10 * HOUR])
    partition.expire(10 * HOUR)
    assert len(partition.panes) == 2
    partition.take_changed()
    partition.expire(10 * HOUR)
    assert list(partition.panes) == [PaneKey(1, 0, 10 * HOUR)]


def test_a_version_that_nobody_announced_stops_with_words_and_counts_nothing() -> None:
    partition = PartitionAudit(SPEC, {1: BINARY})
    batch, digits = predictions([0], version=2), read_digits([b"21"], 2)
    with pytest.raises(FatalError, match="version 2"):
        partition.add_predictions(batch, digits)
    partition.announce(2, BINARY)
    partition.add_predictions(batch, digits)
    assert partition.panes[PaneKey(2, 0, 0)].count("predictions") == 1


def test_a_version_with_more_classes_is_refused() -> None:
    with pytest.raises(FatalError, match="3 scores"):
        PartitionAudit(SPEC, {1: BINARY}).announce(2, Layout(Task.MULTICLASS, ("a", "b", "c")))
