"""A watch that was written and read decides as if it had never stopped."""

import math

import pytest

from millrace.core.audit.memory import dump_state, load_state
from millrace.core.audit.watch import Baseline, begin
from millrace.core.errors import RequestError
from tests.unit.audit.test_watch import WATCH, closed_windows


def test_a_restart_at_any_window_changes_nothing() -> None:
    """Alerts open, escalated or cleared, evidence finite or none: all comes back."""
    for observation in closed_windows(income_shift=3, nulls=200):
        data = dump_state(observation.state)
        assert load_state(data, WATCH.layout) == observation.state
        assert dump_state(load_state(data, WATCH.layout)) == data


def test_a_fresh_state_comes_back() -> None:
    fresh = begin(WATCH, Baseline(0.1, 0.12))
    found = load_state(dump_state(fresh), WATCH.layout)
    assert found == fresh
    assert found.errors is not None
    assert found.errors.log_evidence == -math.inf


@pytest.mark.parametrize("data", [b"", b"{}", b'{"format":9}', b'{"format":1}'])
def test_what_is_no_state_is_refused(data: bytes) -> None:
    with pytest.raises(RequestError, match="cannot be read"):
        load_state(data, WATCH.layout)
