"""When the requests of a micro-batch are together, by a clock and an event loop of the test's own."""

from itertools import count

from millrace_gateway.logic.gathering import LONGEST_SECS, LULL_SECS, Gathering

TURN_SECS = LULL_SECS / 10


def gather(gathering: Gathering, arrivals: list[float]) -> tuple[int, float]:
    """How many requests were gathered, of which these come so many seconds after the first, and in how many seconds."""
    waiting = 1
    gathering.begin(waiting, now=0.0)
    for now in map(TURN_SECS.__mul__, count(1)):
        waiting = 1 + sum(arrival <= now for arrival in arrivals)
        if gathering.is_over(waiting, now=now):
            return waiting, now
    raise AssertionError


def test_what_comes_one_after_the_other_is_scored_together() -> None:
    arrivals = [LULL_SECS * 0.8 * number for number in range(1, 4)]
    assert gather(Gathering(), arrivals)[0] == 4


def test_it_ends_even_if_requests_never_cease() -> None:
    together, seconds = gather(Gathering(), [LULL_SECS / 2 * number for number in range(1, 1_000)])
    assert together < 20
    assert seconds <= LONGEST_SECS + TURN_SECS


def test_a_lonely_connection_is_seldom_kept_waiting() -> None:
    gathering = Gathering()
    waits = [gather(gathering, [])[1] for _ in range(640)]
    assert sum(wait > TURN_SECS for wait in waits) <= 16
    assert max(waits) <= LULL_SECS + 2 * TURN_SECS


def test_requests_that_come_all_at_once_are_not_kept_waiting_either() -> None:
    gathering = Gathering()
    gathered = [gather(gathering, [TURN_SECS] * 63) for _ in range(640)]
    assert {together for together, _ in gathered} == {64}
    assert sum(wait > 2 * TURN_SECS for _, wait in gathered) <= 16


def test_a_lull_that_brings_a_request_is_worth_the_next() -> None:
    gathering = Gathering()
    for _ in range(100):
        gather(gathering, [])
    gathered = [gather(gathering, [LULL_SECS / 2])[0] for _ in range(200)]
    assert 2 in gathered[:65], "it is tried again after some time"
    assert set(gathered[gathered.index(2) :]) == {2}
