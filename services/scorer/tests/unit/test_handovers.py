"""Who answered a partition, and from which offset on: also which process, where a launcher started it."""

import json

import numpy as np
from memory_handovers import MemoryHandovers

from millrace.core.records import RecordBatch
from millrace.testing.clock import ManualClock
from millrace.testing.memory import MemoryLog
from millrace_scorer.logic.handovers import Handovers
from millrace_scorer.logic.lineup import Lineup, Member, Worker

TOPIC = "d.handovers"
LINEUP = Lineup("m", Member(1, "sha256:1"))
HERE, THERE = (Worker(node, "d/scorer/0", 1, "0a") for node in ("a", "b"))


def batch(offset: int) -> RecordBatch:
    zero = np.zeros(1, np.int64)
    return RecordBatch("t", zero.astype(np.int32), zero + offset, zero, [None], [b"{}"], [None])


def written(handovers: Handovers, offset: int) -> list[tuple[int, str]]:
    outputs = handovers.note(batch(offset), LINEUP, wall_ms=0)
    documents = [json.loads(value or b"") for output in outputs for value in output.values]
    return [(document["first_offset"], document.get("by", {}).get("node", "")) for document in documents]


def test_a_partition_that_moves_to_another_process_is_a_change() -> None:
    log = MemoryLog(ManualClock())
    log.create_topic(TOPIC, 1)
    here, there = (Handovers(MemoryHandovers(log, TOPIC), topic=TOPIC, deployment="d", by=by) for by in (HERE, THERE))
    assert written(here, 7) == [(7, "a")]
    assert written(here, 8) == []
    assert written(there, 9) == [(9, "b")]


def test_who_was_started_by_hand_is_nobody() -> None:
    log = MemoryLog(ManualClock())
    log.create_topic(TOPIC, 1)
    assert written(Handovers(MemoryHandovers(log, TOPIC), topic=TOPIC, deployment="d"), 7) == [(7, "")]


def test_a_lineup_reads_back_with_its_worker() -> None:
    lineup = Lineup("m", Member(1, "sha256:1"), by=HERE)
    value = lineup.to_json(deployment="d", first=batch(3).coordinates(0), at_ms=1)
    assert Lineup.from_json(value) == lineup
