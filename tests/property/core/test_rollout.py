"""What holds of every canary and of every comparison."""

from itertools import pairwise
from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from millrace.core.records import RecordBatch
from millrace.core.rollout import PairCounts, draw, evidence

KEYS = st.lists(st.none() | st.binary(max_size=40), max_size=40)
COUNTS = st.builds(PairCounts, *[st.integers(0, 10_000)] * 3)
SHARES = st.floats(0, 1)
SALTS = st.integers(0, 2**32 - 1)


def records(keys: list[bytes | None]) -> RecordBatch:
    count = len(keys)
    offsets = np.arange(count, dtype=np.int64)
    return RecordBatch("t", np.zeros(count, np.int32), offsets, offsets, keys, [b""] * count, [None] * count)


@given(KEYS, SHARES, SALTS, st.randoms())
def test_the_draw_of_a_record_does_not_depend_on_its_neighbours(
    keys: list[bytes | None], share: float, salt: int, random: Random
) -> None:
    batch = records(keys)
    rows = list(range(len(keys)))
    random.shuffle(rows)
    shuffled = batch.take(np.array(rows, np.intp))
    assert draw(shuffled, share=share, salt=salt).tolist() == draw(batch, share=share, salt=salt)[rows].tolist()


@given(KEYS, st.lists(SHARES, min_size=2, max_size=5), SALTS)
def test_whoever_is_drawn_stays_so_with_a_larger_share(
    keys: list[bytes | None], shares: list[float], salt: int
) -> None:
    batch = records(keys)
    drawn = [draw(batch, share=share, salt=salt) for share in sorted(shares)]
    assert all((fewer <= more).all() for fewer, more in pairwise(drawn))


@given(KEYS, SALTS)
def test_nobody_is_drawn_at_0_and_everybody_at_1(keys: list[bytes | None], salt: int) -> None:
    assert not draw(records(keys), share=0.0, salt=salt).any()
    assert draw(records(keys), share=1.0, salt=salt).all()


@given(COUNTS, COUNTS, COUNTS)
def test_counts_add_in_any_order(a: PairCounts, b: PairCounts, c: PairCounts) -> None:
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert a + PairCounts() == a


@given(COUNTS, st.floats(-0.9, 0.9))
def test_a_win_more_is_evidence_and_a_loss_more_is_evidence_against(counts: PairCounts, margin: float) -> None:
    def found(wins: int, losses: int) -> float:
        return evidence(counts.challenger + wins, counts.champion + losses, counts.ties, margin=margin)

    assert found(1, 0) >= found(0, 0) >= found(0, 1) >= 0
