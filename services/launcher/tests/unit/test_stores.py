"""Which nodes need an online store."""

from typing import Any

import pytest

from millrace.core.control.fleet import Assignment, Order, Slot
from millrace.process.deployment import Deployment
from millrace_launcher.logic.kinds import BUILT_IN
from millrace_launcher.logic.stores import needs_online_store

ENRICH = [{"table": "stations.features", "features": ["c"]}, {"table": "clicks.features", "features": ["d"]}]


def deployment(**more: object) -> Deployment:
    document: dict[str, Any] = {"deployment": "rain", "source": {"topic": "rain.features"}, "model": "rain", **more}
    return Deployment.parse(document, subject="the test")


def assigned(kind: str, *, node: str = "here", order: Order = Order.RUN) -> dict[Slot, Assignment]:
    slot = Slot("rain", kind, 0)
    return {slot: Assignment(slot, order, 1, node)}


@pytest.mark.parametrize(
    ("assignments", "enrich", "needs"),
    [
        (assigned("scorer"), [], False),
        (assigned("scorer"), ENRICH, True),
        (assigned("materializer"), [], True),
        (assigned("scorer", node="elsewhere"), ENRICH, False),
        (assigned("scorer", order=Order.STOP), ENRICH, False),
    ],
)
def test_a_node_needs_a_store_for_what_reads_or_writes_one(
    assignments: dict[Slot, Assignment], enrich: list[object], needs: bool
) -> None:
    assert needs_online_store("here", assignments, {"rain": deployment(enrich=enrich)}) is needs


def test_each_table_of_a_deployment_has_a_materializer() -> None:
    [table] = [kind for kind in BUILT_IN if kind.name == "table"]
    wanted = deployment(enrich=ENRICH)
    assert table.count(wanted) == 2
    assert [table.arguments(wanted, number)[-1] for number in range(2)] == ["stations.features", "clicks.features"]
    assert table.count(deployment()) == 0
