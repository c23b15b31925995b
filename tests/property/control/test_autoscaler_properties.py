from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from millrace.core.control.scaling import Step
from tests.unit.control.story import LATE, SOON, Story

_SECOND = st.tuples(st.integers(0, 900), st.integers(0, 900), st.integers(0, 9), st.booleans())


@given(st.lists(_SECOND, min_size=1, max_size=60), st.sampled_from([None, 50.0, 400.0]))
def test_whatever_was_seen_a_step_is_within_the_bounds_and_has_a_reason(
    seconds: Sequence[tuple[int, int, int, bool]], capacity: float | None
) -> None:
    story = Story(capacity=capacity)
    for came, done, ready, is_late in seconds:
        story.went(1, came=came, done=done, scorers=ready or 1, ready=ready, latency=LATE if is_late else SOON)
    decided = story.decides()
    assert decided.why
    assert decided == story.decides()
    if isinstance(decided, Step):
        assert 1 <= decided.replicas <= 4
        assert decided.replicas != story.history[-1].desired
