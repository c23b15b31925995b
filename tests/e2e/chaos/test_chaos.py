"""Exactly once, shown small: real scorers killed and frozen. `make chaos` does the same at full size."""

import pytest

from millrace.testing.broker import Broker
from tests.chaos.plan import Plan
from tests.chaos.run import run


def test_killed_and_frozen_scorers_lose_nothing_repeat_nothing_and_keep_the_order(
    broker: Broker, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run(Plan(seed=20260101, records=6_000, kills=5, freezes=1), broker, print)
    assert result.is_clean, result.to_json()
    assert result.after.lost == result.after.duplicated == result.after.out_of_order == 0
