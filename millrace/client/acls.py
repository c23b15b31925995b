"""The least that each service of a deployment must be allowed on a cluster with an authoriser, and giving it.

Each set is what the service's code asks of the broker and nothing beside it. Rights on one name are given for that name
alone; only transactional ids, which end in a worker's number, and names that somebody chooses later are given by their
beginning. What a service can do without is left out: a scorer may not write `millrace.models`, so one that was taken
over moves no alias; new scorers then learn their latency curve anew.
"""

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import Final, TypeAlias

from millrace.client.local import find_kafka
from millrace.core.lane import Delivery
from millrace.core.rollout import RolloutMode
from millrace.kafka.acls import Operation, Pattern, Resource, Right, allow
from millrace.kafka.appending import RETRAIN_TOPIC
from millrace.kafka.connection import READER_GROUP
from millrace.kafka.control_writer import CONTROL_TOPICS, DEPLOYMENTS_TOPIC, KEYS_TOPIC, MODELS_TOPIC
from millrace.kafka.copies import COPIES_TOPIC
from millrace.kafka.finding import read_deployment
from millrace.kafka.fleet import FLEET_TOPICS
from millrace.kafka.history import HISTORY_TOPIC
from millrace.kafka.receipts import RECEIPTS_TOPIC
from millrace.process.deployment import Deployment
from millrace.process.settings import KafkaSettings

_READ, _WRITE, _CREATE = Operation.READ, Operation.WRITE, Operation.CREATE
_DESCRIBE, _CONFIGS = Operation.DESCRIBE, Operation.DESCRIBE_CONFIGS
_OWNED: Final = (_READ, _WRITE, _CREATE, _CONFIGS)
"""For a topic that a service makes, checks, writes and reads back."""


class Service(StrEnum):
    """Who connects to the cluster."""

    SCORER = "scorer"
    AUDITOR = "auditor"
    TRAINER = "trainer"
    GATEWAY = "gateway"
    MATERIALIZER = "materializer"
    LAUNCHER = "launcher"
    BATCH = "batch"
    COPY = "copy"


@dataclass(frozen=True, slots=True)
class Grant:
    """What one service of a deployment may do.

    Attributes:
        service: The service.
        principal: Its user, as Kafka writes it: `User:scorer-rain`.
        rights: The least that it needs, sorted.
    """

    service: Service
    principal: str
    rights: tuple[Right, ...]

    def commands(self, bootstrap: str) -> Iterator[str]:
        """The grant as command lines of `kafka-acls`, one for each name."""
        names: dict[tuple[Resource, str, Pattern], list[Operation]] = {}
        for right in self.rights:
            names.setdefault((right.resource, right.name, right.pattern), []).append(right.operation)
        for (resource, name, pattern), operations in names.items():
            words = ["kafka-acls", "--bootstrap-server", bootstrap, "--add", "--allow-principal", self.principal]
            words += chain.from_iterable(("--operation", operation.value) for operation in operations)
            words += [f"--{resource.value}", name, "--resource-pattern-type", pattern.value]
            yield shlex.join(words)


def grant(deployment: Deployment, service: Service, *, principal: str | None = None) -> Grant:
    """The least that a service of this deployment needs; its user is `User:SERVICE-DEPLOYMENT` where none is named."""
    rights = sorted(set(_RIGHTS[service](deployment)))
    return Grant(service, principal or f"User:{service.value}-{deployment.deployment}", tuple(rights))


def give(kafka: KafkaSettings, grants: Iterable[Grant]) -> None:
    """Give every grant on the cluster. What somebody has already stays, and nothing is taken away.

    Raises:
        FatalError: This user may not give rights, or the cluster has no authoriser.
        TransientError: No broker answers.
    """
    for each in grants:
        allow(kafka, each.principal, each.rights)


def find_document(named: str, bootstrap: str | None = None) -> Deployment:
    """The deployment in a file that ends in .yaml, .yml or .json, or else the one of this name on the cluster.

    Raises:
        RequestError: There is none, or its document is not valid.
        TransientError: No broker answers.
        FatalError: The broker refuses this client.
    """
    path = Path(named)
    if path.suffix in _DOCUMENTS:
        return Deployment.load(path)
    return read_deployment(find_kafka(bootstrap), named)


_DOCUMENTS: Final = frozenset({".yaml", ".yml", ".json"})

_Rights: TypeAlias = Iterable[Right]


def _topic(name: str, *operations: Operation) -> _Rights:
    return [Right(Resource.TOPIC, name, operation) for operation in operations]


def _group(name: str, operation: Operation = _READ) -> _Rights:
    return [Right(Resource.GROUP, name, operation)]


def _producer(name: str, pattern: Pattern = Pattern.LITERAL) -> _Rights:
    return [Right(Resource.TRANSACTIONAL_ID, name, _WRITE, pattern)]


def _workers(name: str) -> _Rights:
    """The producers of all slots of a lane."""
    return _producer(f"millrace-{name}-", Pattern.PREFIXED)


def _reader() -> _Rights:
    """To read without a group of one's own: Kafka's client asks for the coordinator of one all the same."""
    return _group(READER_GROUP, _DESCRIBE)


def _documents() -> _Rights:
    """What whoever is started by a deployment's name reads."""
    return chain(_topic(MODELS_TOPIC, _READ), _topic(DEPLOYMENTS_TOPIC, _READ))


def _changes(model: str) -> _Rights:
    """To change what is written down about a model."""
    return chain(_topic(MODELS_TOPIC, *_OWNED), _topic(HISTORY_TOPIC, *_OWNED), _producer(f"millrace-control-{model}"))


def _tries(deployment: Deployment) -> bool:
    return deployment.rollout.mode is not RolloutMode.NONE


def _model(deployment: Deployment) -> str:
    return deployment.model.partition("@")[0].partition("/")[0]


def _scorer(deployment: Deployment) -> Iterator[Right]:
    yield from _reader()
    yield from _documents()
    yield from _topic(deployment.source.topic, _READ, _CONFIGS)
    outputs = [deployment.predictions_topic, deployment.dead_letters_topic]
    outputs += [deployment.shadows_topic] if _tries(deployment) else []
    outputs += [deployment.late_topic] if deployment.overload.shed_after is not None else []
    for name in outputs:
        yield from _topic(name, _WRITE, _CREATE)
    yield from _topic(deployment.handovers_topic, *_OWNED)
    yield from _group(deployment.group_id)
    if deployment.delivery is Delivery.SHARED or deployment.group.session_timeout is not None:
        yield from _group(deployment.group_id, Operation.ALTER_CONFIGS)
    if deployment.delivery is Delivery.EXACTLY_ONCE:
        yield from _workers(deployment.deployment)


def _auditor(deployment: Deployment) -> Iterator[Right]:
    yield from _reader()
    name = deployment.deployment
    yield from _documents()
    yield from _topic(deployment.predictions_topic, _READ)
    yield from _topic(deployment.labels_topic, _READ, _CREATE)
    yield from _topic(f"{name}.unjoined", _WRITE, _CREATE)
    for kept in (f"{name}.audit-state", f"{name}.evidence", RETRAIN_TOPIC.name):
        yield from _topic(kept, *_OWNED)
    for written in (f"{name}.audits", "millrace.alerts"):
        yield from _topic(written, _WRITE, _CREATE, _CONFIGS)
    parts = ["join", "judge"]
    if _tries(deployment):
        parts += ["pairs", "rollout"]
        yield from _topic(deployment.predictions_topic, _CONFIGS)
        yield from _topic(deployment.shadows_topic, _READ, _CREATE)
        for kept in (f"{name}.rollouts", f"{name}.rollout-state"):
            yield from _topic(kept, *_OWNED)
        yield from _changes(f"model/{_model(deployment)}")
    for part in parts:
        yield from _group(f"auditor-{part}-{name}")
        yield from _workers(f"auditor-{part}-{name}")
        if deployment.group.session_timeout is not None:
            yield from _group(f"auditor-{part}-{name}", Operation.ALTER_CONFIGS)


def _trainer(deployment: Deployment) -> Iterator[Right]:
    yield from _reader()
    model = _model(deployment)
    yield from _topic(deployment.source.topic, _READ)
    yield from _topic(deployment.labels_topic, _READ)
    if deployment.enrich:
        yield from _topic(deployment.predictions_topic, _READ)
    yield from _topic(RETRAIN_TOPIC.name, *_OWNED)
    yield from _producer(f"millrace-trainer-{model}")
    yield from _changes(f"model/{model}")


def _gateway(deployment: Deployment) -> Iterator[Right]:
    yield from _reader()
    yield from _documents()
    yield from _topic(deployment.source.topic, _WRITE, _CONFIGS)
    yield from _topic(deployment.labels_topic, _WRITE)
    yield from _topic(deployment.requests_topic, _WRITE, _CREATE)
    yield from _topic(deployment.predictions_topic, _READ, _WRITE, _CREATE)
    if _tries(deployment):
        yield from _topic(deployment.shadows_topic, _WRITE, _CREATE)
    yield from _topic(KEYS_TOPIC, _READ, _CREATE, _CONFIGS)
    yield from _topic(RECEIPTS_TOPIC, *_OWNED)
    yield from _producer("millrace-receipts-", Pattern.PREFIXED)


def _materializer(deployment: Deployment) -> Iterator[Right]:
    tables = [each.table for each in deployment.enrich]
    for topic in (deployment.predictions_topic, *tables):
        yield from _topic(topic, _READ)
        yield from _group(f"materializer-{topic}")


def _launcher(deployment: Deployment) -> Iterator[Right]:
    yield from _reader()
    for spec in (*CONTROL_TOPICS, *FLEET_TOPICS):
        yield from _topic(spec.name, *_OWNED)
    yield from _group("millrace-controller")
    yield from _producer("millrace-controller")
    yield from _producer("millrace-control-", Pattern.PREFIXED)
    # What it shows of the deployment: its audits, its dead letters, its lag.
    own = f"{deployment.deployment}."
    yield Right(Resource.TOPIC, own, _READ, Pattern.PREFIXED)
    shown = [(deployment.dead_letters_topic, _READ), ("millrace.alerts", _READ), (deployment.source.topic, _DESCRIBE)]
    for name, operation in shown:
        yield from () if name.startswith(own) else _topic(name, operation)
    yield from _group(deployment.group_id, _DESCRIBE)


def _batch(_: Deployment) -> Iterator[Right]:
    yield from _reader()
    yield from _topic(MODELS_TOPIC, _READ)


def _copy(deployment: Deployment) -> Iterator[Right]:
    yield from _reader()
    yield from _topic(deployment.source.topic, _WRITE)
    yield from _topic(COPIES_TOPIC.name, *_OWNED)
    yield from _producer("millrace-copy-", Pattern.PREFIXED)


_RIGHTS: Final[Mapping[Service, Callable[[Deployment], Iterator[Right]]]] = {
    Service.SCORER: _scorer,
    Service.AUDITOR: _auditor,
    Service.TRAINER: _trainer,
    Service.GATEWAY: _gateway,
    Service.MATERIALIZER: _materializer,
    Service.LAUNCHER: _launcher,
    Service.BATCH: _batch,
    Service.COPY: _copy,
}
