"""The services of a deployment as containers of their own, where the nodes run none of it."""

from collections.abc import Callable

from tests.compose.stack import FEATURES, Stack
from tests.e2e.launcher.stream import beside, verdict


def test_a_container_takes_over_from_the_nodes_and_each_record_is_scored_once(
    stack: Stack, say: Callable[[str], None]
) -> None:
    with beside(stack.feed().send):
        stack.await_more_predictions("predictions from the nodes")
        stack.take_from_nodes()
        stack.up("scorer", "auditor", "materializer")
        stack.await_more_predictions("predictions from the container")
        stack.compose("kill", "scorer")
        stack.up("scorer")
        stack.await_more_predictions("predictions from the next container")
    total = verdict(stack.broker, FEATURES, "rain")
    say(f"from nodes to a container, which is killed: {total} records, 0 lost, 0 duplicated, 0 out of order")
