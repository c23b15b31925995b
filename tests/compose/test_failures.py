"""A broker of three is killed, then a node, while records flow; each is scored once."""

from collections.abc import Callable

from millrace.testing.waiting import eventually
from tests.compose.stack import FEATURES, PATIENCE, Stack
from tests.e2e.launcher.stream import beside, verdict


def test_a_broker_and_a_node_are_killed_and_each_record_is_scored_once(
    stack: Stack, say: Callable[[str], None]
) -> None:
    with beside(stack.feed().send):
        stack.await_more_predictions("predictions")
        stack.compose("kill", "kafka-2")
        stack.await_more_predictions("predictions from two brokers")
        stack.up("kafka-2")
        eventually(stack.has_all_replicas, within=PATIENCE, what="all replicas in step")
        stack.compose("kill", "launcher-2")
        eventually(lambda: stack.is_tended_by("launcher-1"), within=PATIENCE, what="all scorers on the other node")
        stack.await_more_predictions("predictions from one node")
        stack.up("launcher-2")
    total = verdict(stack.broker, FEATURES, "rain")
    say(f"a broker and a node killed: {total} records, 0 lost, 0 duplicated, 0 out of order")
