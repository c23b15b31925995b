from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from millrace.core.errors import RequestError
from millrace.process.retraining import RequestData, RequestTrigger
from millrace_trainer.logic.window import Since, WindowPolicy, split_time, training_window

START, END = datetime(1970, 1, 1, tzinfo=UTC), datetime(1983, 3, 1, tzinfo=UTC)
CHANGE = datetime(1982, 1, 1, tzinfo=UTC)
DATA = RequestData.model_validate({"from": START, "to": END})
TRIGGER = RequestTrigger(signal="error_rate", windows=(CHANGE, CHANGE + timedelta(days=90)))


@pytest.mark.parametrize(
    ("policy", "start"),
    [
        (WindowPolicy(), START),
        (WindowPolicy(history=timedelta(days=10)), END - timedelta(days=10)),
        (WindowPolicy(since=Since.DEGRADED), CHANGE),
        (WindowPolicy(since=Since.DEGRADED, history=timedelta(days=10)), END - timedelta(days=10)),
        (WindowPolicy(since=Since.DEGRADED, history=timedelta(days=9999)), CHANGE),
    ],
)
def test_the_window_ends_with_the_request_and_begins_by_policy(policy: WindowPolicy, start: datetime) -> None:
    assert training_window(DATA, TRIGGER, policy) == (start, END)


def test_without_degraded_windows_the_request_says_where_to_begin() -> None:
    policy = WindowPolicy(since=Since.DEGRADED)
    assert training_window(DATA, RequestTrigger(signal="manual"), policy) == (START, END)


def test_the_latest_share_is_held_out_whatever_the_order() -> None:
    times = np.random.default_rng(1).permutation(np.arange(1000))
    assert split_time(times, WindowPolicy(holdout=0.2)) == 800


def test_records_of_one_time_are_not_divided() -> None:
    times = np.array([0] * 200 + [1] * 200)
    cut = split_time(times, WindowPolicy(holdout=0.25, min_train=100))
    assert cut == 1
    assert int(np.sum(times < cut)) == 200


@pytest.mark.parametrize("times", [np.arange(100), np.zeros(1000, np.int64), np.array([], np.int64)])
def test_too_few_records_to_learn_from_are_refused(times: np.ndarray) -> None:
    with pytest.raises(RequestError, match="early enough to learn from, 100 needed"):
        split_time(times, WindowPolicy())
