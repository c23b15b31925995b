import pytest

from tests.chaos.plan import Fault, Plan
from tests.chaos.verdict import Seen, Verdict, judge

INPUT = {0: [0, 1, 2, 3], 1: [0, 2]}


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        (INPUT, Verdict(0, 0, 0)),
        ({0: [0, 1, 3], 1: [0, 2]}, Verdict(1, 0, 0)),
        ({0: [0, 1, 2, 3]}, Verdict(2, 0, 0)),
        ({0: [0, 1, 1, 2, 3], 1: [0, 2]}, Verdict(0, 1, 0)),
        ({0: [1, 0, 2, 3], 1: [0, 2]}, Verdict(0, 0, 1)),
        ({0: [0, 1, 2, 3, 0, 1], 1: [0, 2]}, Verdict(0, 2, 0)),
    ],
)
def test_every_kind_of_damage_is_found(seen: dict[int, list[int]], verdict: Verdict) -> None:
    assert judge(seen, INPUT) == verdict
    assert verdict.is_clean == (seen is INPUT)


def test_what_was_seen_keeps_the_order_of_reading() -> None:
    seen = Seen()
    for partition, offset in ((0, 5), (1, 1), (0, 4)):
        seen.add(partition, offset)
    assert seen.offsets == {0: [5, 4], 1: [1]}
    assert seen.count == 3


def test_a_seed_is_a_plan() -> None:
    plan = Plan(seed=7, kills=20, freezes=5)
    strikes = plan.strikes()
    assert strikes == Plan(seed=7, kills=20, freezes=5).strikes()
    assert strikes != Plan(seed=8, kills=20, freezes=5).strikes()
    assert [strike.fault for strike in strikes].count(Fault.KILL) == 20
    assert all(strike.lasting > plan.session_secs for strike in strikes if strike.fault is Fault.FREEZE)
