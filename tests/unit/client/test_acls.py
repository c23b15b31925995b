"""The least sets: what must be in them, and what must not."""

import re
from collections.abc import Mapping
from typing import Final

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


@pytest.mark.parametrize("service", Service, ids=str)
def test_no_right_is_given_by_another_one(service: Service) -> None:
    """Nothing could be left out, and everything still be allowed."""
    for given in (grant(deployment(), service), grant(deployment(**EVERYTHING), service)):
        for right in given.rights:
            others = [each for each in given.rights if each != right]
            assert not any(includes(other, right) for other in others), right


EVERYTHING: Final[Mapping[str, object]] = {
    "deployment": "rain",
    "source": {"topic": "rain.features"},
    "rollout": {"mode": "shadow", "challenger": "rain@challenger"},
    "overload": {"shed_after_ms": 60_000},
    "group": {"session_timeout_ms": 50_000},
    "enrich": [{"table": "stations", "features": ["height"]}],
}


def includes(one: Right, other: Right) -> bool:
    """Whether who has the one right needs the other no more: Kafka's rules of names and operations."""
    implied = {
        Operation.READ: {Operation.DESCRIBE},
        Operation.WRITE: {Operation.DESCRIBE},
        Operation.ALTER_CONFIGS: {Operation.DESCRIBE_CONFIGS},
    }
    operations = {one.operation, *implied.get(one.operation, ())}
    if one.pattern is Pattern.PREFIXED:
        named = other.name.startswith(one.name)
    else:
        named = other.pattern is Pattern.LITERAL and other.name == one.name
    return one.resource is other.resource and other.operation in operations and named


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
