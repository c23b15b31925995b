"""Rollouts: the draw of a canary by values, and the test of two versions with its rates, in figures."""

from collections import Counter
from typing import Final

import numpy as np
import pytest

from millrace.core.errors import RequestError
from millrace.core.records import RecordBatch
from millrace.core.rollout import Outcome, PairCounts, SequentialTest, draw, evidence, salt_of

REPETITIONS = 400
PANE = 50


def records(keys: list[bytes | None], *, first_offset: int = 0, partition: int = 0) -> RecordBatch:
    count = len(keys)
    offsets = np.arange(first_offset, first_offset + count, dtype=np.int64)
    partitions = np.full(count, partition, np.int32)
    return RecordBatch("t", partitions, offsets, offsets, keys, [b""] * count, [None] * count)


class TestDraw:
    KEYS: Final = [b"customer-%d" % number for number in range(50_000)]

    @pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 0.99, 1.0])
    def test_a_share_of_the_keys_is_drawn(self, share: float) -> None:
        drawn = draw(records(list(self.KEYS)), share=share, salt=salt_of("rain", 2)).mean()
        assert abs(drawn - share) <= 5 * np.sqrt(share * (1 - share) / len(self.KEYS))

    def test_records_without_a_key_are_drawn_by_their_coordinates(self) -> None:
        nobody = records([None] * 50_000)
        assert abs(draw(nobody, share=0.1, salt=1).mean() - 0.1) < 0.01
        elsewhere = records([None] * 50_000, partition=1)
        assert (draw(nobody, share=0.5, salt=1) != draw(elsewhere, share=0.5, salt=1)).mean() > 0.4

    def test_a_key_is_drawn_alike_beside_records_without_one(self) -> None:
        alone = draw(records([b"a", b"b", b"c"]), share=0.5, salt=3)
        mixed = draw(records([None, b"a", None, b"b", b"c"], first_offset=900), share=0.5, salt=3)
        assert alone.tolist() == mixed[[1, 3, 4]].tolist()

    def test_two_deployments_draw_independently(self) -> None:
        batch = records(list(self.KEYS))
        first, second = (draw(batch, share=0.1, salt=salt_of(name, 2)) for name in ("rain", "snow"))
        assert abs((first & second).mean() - 0.01) < 0.003

    def test_the_draw_is_the_same_in_every_version_of_this_code(self) -> None:
        """Keys that change sides in the middle of a rollout would see both versions."""
        drawn = draw(records([b"%d" % number for number in range(20)]), share=0.5, salt=salt_of("rain", 2))
        assert "".join("01"[int(each)] for each in drawn) == "01101010000111110100"


class TestEvidence:
    def test_is_the_mean_of_what_each_stake_came_to(self) -> None:
        stakes = np.array([0.01, 0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 0.95])
        by_hand = np.mean((1 + stakes) ** 7 * (1 - stakes) ** 2)
        assert evidence(7, 2, 5) == pytest.approx(by_hand)

    @pytest.mark.parametrize(("win", "loss"), [(0.1, 0.4), (0.3, 0.3), (0.4, 0.2)])
    def test_one_more_pair_at_the_margin_leaves_it_as_it_is_on_average(self, win: float, loss: float) -> None:
        """The defining property: with a gain of exactly the margin, capital is expected to stay."""
        tie, gain = 1 - win - loss, win - loss
        before = evidence(30, 20, 50, margin=gain)
        after = (
            win * evidence(31, 20, 50, margin=gain)
            + loss * evidence(30, 21, 50, margin=gain)
            + tie * evidence(30, 20, 51, margin=gain)
        )
        assert after == pytest.approx(before)

    def test_very_much_of_it_is_still_a_number(self) -> None:
        assert 1e300 < evidence(1_000_000, 0, 0) < float("inf")


def simulate(win: float, loss: float, test: SequentialTest, *, seed: int) -> tuple[Counter[Outcome], float]:
    """How many of the repetitions ended how, and the median number of pairs."""
    random, ends, pairs = np.random.default_rng(seed), Counter[Outcome](), []
    for _ in range(REPETITIONS):
        counts = PairCounts()
        reading = test.judge(counts)
        while reading.outcome is Outcome.CONTINUE:
            won, lost, tied = random.multinomial(PANE, [win, loss, 1 - win - loss]).tolist()
            counts += PairCounts(tied, lost, won)
            reading = test.judge(counts)
        ends[reading.outcome] += 1
        pairs.append(counts.pairs)
    return ends, float(np.median(pairs))


class TestRates:
    """Each bar is the promise, alpha, and three standard errors of the simulation itself."""

    TEST = SequentialTest(alpha=0.05, min_pairs=PANE, max_pairs=10_000)
    BAR = REPETITIONS * 0.05 + 3 * np.sqrt(REPETITIONS * 0.05 * 0.95)

    @pytest.mark.parametrize("discordant", [0.05, 0.2])
    def test_equal_versions_are_left_as_they_are(self, discordant: float) -> None:
        ends, _ = simulate(discordant / 2, discordant / 2, self.TEST, seed=1)
        print(f"equal, {discordant} discordant: {dict(ends)}")  # noqa: T201
        assert ends[Outcome.PROMOTE] <= self.BAR
        assert ends[Outcome.ROLL_BACK] <= self.BAR
        assert ends[Outcome.UNDECIDED] >= 0.8 * REPETITIONS

    @pytest.mark.parametrize(("win", "loss", "most_pairs"), [(0.15, 0.05, 400), (0.12, 0.08, 2_000)])
    def test_a_better_one_is_promoted_and_a_worse_one_rolled_back(
        self, win: float, loss: float, most_pairs: int
    ) -> None:
        better, pairs = simulate(win, loss, self.TEST, seed=2)
        worse, _ = simulate(loss, win, self.TEST, seed=2)
        print(f"gain {win - loss:.2f}: {dict(better)}, median {pairs:g} pairs")  # noqa: T201
        assert better[Outcome.PROMOTE] >= 0.98 * REPETITIONS
        assert worse[Outcome.ROLL_BACK] >= 0.98 * REPETITIONS
        assert pairs <= most_pairs

    def test_not_better_by_the_margin_is_not_promoted(self) -> None:
        test = SequentialTest(alpha=0.05, margin=0.02, min_pairs=PANE, max_pairs=10_000)
        ends, _ = simulate(0.11, 0.09, test, seed=3)
        assert ends[Outcome.PROMOTE] <= self.BAR

    def test_not_worse_by_a_margin_is_promoted_without_being_better(self) -> None:
        test = SequentialTest(alpha=0.05, margin=-0.05, tolerance=0.05, min_pairs=PANE, max_pairs=10_000)
        ends, _ = simulate(0.05, 0.05, test, seed=4)
        assert ends[Outcome.PROMOTE] >= 0.98 * REPETITIONS

    def test_stopping_at_the_first_look_that_a_plain_test_likes_would_not_keep_the_rate(self) -> None:
        """The reason for all this: a p-value of 0.05 that is looked at after each pane errs many times as often."""
        random, wrong = np.random.default_rng(5), 0
        for _ in range(REPETITIONS):
            signs = random.choice([-1, 1], size=2_000)
            looks = np.arange(PANE, 2_001, PANE)
            wrong += bool((signs.cumsum()[looks - 1] > 1.645 * np.sqrt(looks)).any())
        assert wrong > 3 * self.BAR


def test_the_fewest_pairs_are_waited_for_and_the_most_are_the_end() -> None:
    test = SequentialTest(alpha=0.05, min_pairs=100, max_pairs=300)
    assert test.judge(PairCounts(challenger=99)).outcome is Outcome.CONTINUE
    assert test.judge(PairCounts(challenger=100)).outcome is Outcome.PROMOTE
    assert test.judge(PairCounts(ties=299)).outcome is Outcome.CONTINUE
    assert test.judge(PairCounts(ties=300)).outcome is Outcome.UNDECIDED


@pytest.mark.parametrize(
    "bounds",
    [{"alpha": 0.0}, {"alpha": 1.0}, {"margin": 1.0}, {"tolerance": -0.1}, {"min_pairs": 0}, {"max_pairs": 10}],
)
def test_bounds_that_cannot_be_met_are_refused(bounds: dict[str, float]) -> None:
    with pytest.raises(RequestError):
        SequentialTest(**bounds)  # type: ignore[arg-type]
