"""The least sets: what must be in them, and what must not."""

import re

import pytest

from millrace.client.acls import Grant, Service, grant
from millrace.kafka.acls import Operation, Pattern, Resource, Right
from millrace.process.deployment import Deployment


def deployment(**changes: object) -> Deployment:
    document = {"deployment": "rain", "source": {"topic": "weather.features"}, "model": "rain@champion", **changes}
    return Deployment.parse(document, subject="the test")


def written(given: Grant) -> set[str]:
    return {r.name for r in given.rights if r.resource is Resource.TOPIC and r.operation is Operation.WRITE}


def test_a_scorer_writes_its_outputs_and_nothing_of_control() -> None:
    assert written(grant(deployment(), Service.SCORER)) == {"rain.predictions", "rain.dlq", "rain.handovers"}


def test_what_a_deployment_does_not_use_is_not_asked_for() -> None:
    tries = deployment(rollout={"mode": "shadow", "challenger": "rain@challenger"})
    assert "rain.shadows" in written(grant(tries, Service.SCORER))
    assert "rain.shadows" not in written(grant(deployment(), Service.SCORER))
    sheds = deployment(overload={"shed_after_ms": 60_000})
    assert "rain.late" in written(grant(sheds, Service.SCORER))
    at_least_once = grant(deployment(delivery="at_least_once"), Service.SCORER)
    assert not [right for right in at_least_once.rights if right.resource is Resource.TRANSACTIONAL_ID]


@pytest.mark.parametrize("service", sorted(set(Service) - {Service.LAUNCHER, Service.TRAINER}), ids=str)
def test_without_a_rollout_only_launcher_and_trainer_change_models_and_keys(service: Service) -> None:
    assert not written(grant(deployment(), service)) & {"millrace.models", "millrace.keys", "millrace.history"}


@pytest.mark.parametrize("service", Service, ids=str)
def test_no_set_names_everything_or_the_cluster(service: Service) -> None:
    given = grant(deployment(), service)
    assert given.principal == f"User:{service}-rain"
    assert len(set(given.rights)) == len(given.rights)
    for right in given.rights:
        assert right.name not in {"", "*"}
        if right.pattern is Pattern.PREFIXED:
            assert re.search(r"[.-]$", right.name), "a beginning ends where a name's part ends"


def test_commands_name_everything_once_for_each_resource() -> None:
    rights = (
        Right(Resource.TOPIC, "rain.dlq", Operation.CREATE),
        Right(Resource.TOPIC, "rain.dlq", Operation.WRITE),
        Right(Resource.TRANSACTIONAL_ID, "millrace-rain-", Operation.WRITE, Pattern.PREFIXED),
    )
    start = "kafka-acls --bootstrap-server b:9092 --add --allow-principal 'User:CN=a b'"
    assert list(Grant(Service.SCORER, "User:CN=a b", rights).commands("b:9092")) == [
        f"{start} --operation Create --operation Write --topic rain.dlq --resource-pattern-type literal",
        f"{start} --operation Write --transactional-id millrace-rain- --resource-pattern-type prefixed",
    ]
