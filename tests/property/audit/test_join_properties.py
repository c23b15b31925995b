"""Bar 4: whatever the order, the shards, the repeats and the restarts, the same bytes remain."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Final

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.core.audit.columns import Labels, Predictions
from millrace.core.audit.layout import Layout
from millrace.core.audit.pane import Pane, PaneKey, read_digits
from millrace.core.audit.partition import PartitionAudit
from millrace.core.audit.snapshot import restore_snapshot, take_snapshot
from millrace.core.audit.windows import WindowSpec
from millrace.core.profile import NumericCells
from millrace.core.signature import Task

SPEC: Final = WindowSpec(
    label_horizon=timedelta(seconds=20),
    size=timedelta(seconds=10),
    pane=timedelta(seconds=5),
    correction_horizon=timedelta(seconds=20),
)
CELLS: Final = (
    NumericCells("income", (0.0, 1.0), 2.0, (0, 0, 5, 5, 0)),
    NumericCells("age", (0.0,), 1.0, (0, 0, 9, 0)),
)
LAYOUT: Final = Layout(Task.BINARY, ("no", "yes"), CELLS)
LAYOUTS: Final = {1: LAYOUT, 2: LAYOUT}


@dataclass(frozen=True, slots=True)
class Scored:
    event: int
    version: int
    score: float
    bins: bytes

    @property
    def time_ms(self) -> int:
        return self.event * 700  # the event's own time, equal for every version

    @property
    def segment(self) -> int:
        return self.event % 2


@dataclass(frozen=True, slots=True)
class Told:
    event: int
    revision: int
    label: int
    retracted: bool
    delay_ms: int

    @property
    def time_ms(self) -> int:
        return self.event * 700 + self.delay_ms

    @property
    def weight(self) -> float:
        return (self.event % 7 + self.revision + 1) / 3


Record = Scored | Told


def event_id(event: int) -> bytes:
    return b"weather.features-0-%d" % event


def feed(audit: PartitionAudit, records: Sequence[Record]) -> None:
    """One batch: its predictions, then its labels."""
    scored = [record for record in records if isinstance(record, Scored)]
    told = [record for record in records if isinstance(record, Told)]
    audit.add_predictions(
        Predictions(
            [event_id(r.event) for r in scored],
            np.array([r.time_ms for r in scored], np.int64),
            np.array([r.version for r in scored], np.int64),
            np.array([r.segment for r in scored], np.int64),
            np.array([r.score > 0.5 for r in scored], np.int64),
            np.array([r.score for r in scored], np.float64).reshape(-1, 1),
        ),
        read_digits([r.bins for r in scored], len(CELLS)),
    )
    audit.add_labels(
        Labels(
            [event_id(r.event) for r in told],
            np.array([r.label for r in told], np.float64),
            np.array([r.time_ms for r in told], np.int64),
            np.array([r.revision for r in told], np.int64),
            np.array([r.retracted for r in told], np.bool_),
            np.array([r.weight for r in told], np.float64),
        )
    )


def batches(records: Sequence[Record], size: int) -> Iterable[Sequence[Record]]:
    return (records[start : start + size] for start in range(0, len(records), size))


def as_bytes(panes: dict[PaneKey, Pane]) -> dict[PaneKey, bytes]:
    return {key: pane.to_json() for key, pane in sorted(panes.items())}


def audited(records: Sequence[Record], *, shards: int = 1, size: int = 7) -> dict[PaneKey, bytes]:
    """The panes of all shards added up; events go to the shard of their number."""
    merged: dict[PaneKey, Pane] = {}
    for shard in range(shards):
        audit = PartitionAudit(SPEC, LAYOUTS)
        for batch in batches([record for record in records if record.event % shards == shard], size):
            feed(audit, batch)
        for key, pane in audit.panes.items():
            merged[key] = merged[key] + pane if key in merged else pane
    return as_bytes(merged)


def expected_counts(records: Sequence[Record]) -> dict[tuple[int, int], dict[str, int]]:
    """Per version and pane start, by going through the records one at a time."""
    predictions = {(r.event, r.version): r for r in reversed(records) if isinstance(r, Scored)}
    newest: dict[int, Told] = {}
    for record in records:
        if isinstance(record, Told) and (record.event not in newest or record.revision > newest[record.event].revision):
            newest[record.event] = record
    counts: dict[tuple[int, int], dict[str, int]] = {}
    for (event, version), scored in predictions.items():
        pane = counts.setdefault((version, scored.time_ms // 5000 * 5000), dict.fromkeys(("n", "labelled", "right"), 0))
        pane["n"] += 1
        label = newest.get(event)
        if label is not None and not label.retracted:
            pane["labelled"] += 1
            pane["right"] += label.label == (scored.score > 0.5)
    return counts


@st.composite
def histories(draw: st.DrawFn) -> list[Record]:
    """Predictions of one or two versions, and for most events labels, corrections, retractions and repeats."""
    records: list[Record] = []
    for event in range(draw(st.integers(1, 40))):
        score = draw(st.integers(0, 1000)) / 1000
        bins = draw(st.sampled_from([b"22", b"01", b"43", b"30"]))
        scored = [Scored(event, version, score, bins) for version in draw(st.sampled_from([(1,), (1, 2), (2,)]))]
        revisions = draw(st.lists(st.integers(0, 5), max_size=4, unique=True))
        told = [
            Told(event, revision, draw(st.integers(0, 1)), draw(st.integers(0, 4)) == 0, draw(st.integers(0, 20_000)))
            for revision in revisions
        ]
        repeats = draw(st.integers(0, 2))
        records += [*scored, *told, *scored[:repeats], *told[:repeats]]
    return records


@settings(max_examples=60, deadline=None)
@given(histories(), st.randoms(use_true_random=False), st.integers(1, 60))
def test_bar_4_order_and_batches_do_not_matter(records: list[Record], random: Random, size: int) -> None:
    shuffled = records[:]
    random.shuffle(shuffled)
    assert audited(shuffled, size=size) == audited(records)


@settings(max_examples=30, deadline=None)
@given(histories(), st.sampled_from([2, 8]))
def test_bar_4_shards_do_not_matter(records: list[Record], shards: int) -> None:
    assert audited(records, shards=shards) == audited(records)


@settings(max_examples=30, deadline=None)
@given(histories(), st.randoms(use_true_random=False), st.integers(0, 20))
def test_bar_4_a_restart_in_the_middle_does_not_matter(records: list[Record], random: Random, after: int) -> None:
    random.shuffle(records)
    audit = PartitionAudit(SPEC, LAYOUTS)
    for number, batch in enumerate(batches(records, 5)):
        if number == after:
            panes = {key: Pane.from_json(pane.to_json(), LAYOUT) for key, pane in audit.panes.items()}
            audit = PartitionAudit(SPEC, LAYOUTS, restore_snapshot(take_snapshot(audit.join), SPEC))
            audit.panes.update(panes)
        feed(audit, batch)
    assert as_bytes(audit.panes) == audited(records)


@settings(max_examples=60, deadline=None)
@given(histories(), st.randoms(use_true_random=False))
def test_counts_are_those_of_going_through_the_records(records: list[Record], random: Random) -> None:
    random.shuffle(records)
    found: dict[tuple[int, int], dict[str, int]] = {}
    for key, data in audited(records).items():
        pane = Pane.from_json(data, LAYOUT)
        total = found.setdefault((key.version, key.start_ms), dict.fromkeys(("n", "labelled", "right"), 0))
        total["n"] += pane.count("predictions")
        total["labelled"] += pane.count("labelled")
        total["right"] += int(pane.section("confusion").trace())
    assert found == expected_counts(records)
