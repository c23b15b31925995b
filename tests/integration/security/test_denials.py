"""What each service may do on a cluster is what `millrace acls` says, and everything else is denied.

Each service tries everything that Kafka can be asked to do with every name that any service has a right to, as a client
of the broker. What it is allowed must be its set to the letter: the matrix is derived from the sets themselves.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeAlias

import pytest
from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from millrace.client.acls import Grant, Service, give, grant
from millrace.kafka.acls import Pattern, Resource
from millrace.kafka.admin import Admin, TopicSpec
from millrace.kafka.connection import QUIET
from millrace.process.deployment import Deployment
from millrace.testing.guarded import GuardedBroker, guarded_broker, is_given, signed_in
from millrace.testing.waiting import eventually

PATIENCE: Final = timedelta(seconds=60)
NOBODYS: Final = "nobodys"
"""A name that no service has a right to."""

Answers: TypeAlias = Mapping[str, Mapping[Any, "Future[Any]"]]
"""By operation, and by what it is about: what the broker will have said."""

Cell: TypeAlias = tuple[Resource, str, str]
"""Something that may be tried: on what, and which operation, in the words of Kafka's protocol."""

DEPLOYMENT: Final = Deployment.parse(
    {
        "deployment": "rain",
        "source": {"topic": "weather.features"},
        "model": "rain@champion",
        "rollout": {"mode": "shadow", "challenger": "rain@challenger"},
        "overload": {"shed_after_ms": 60_000},
        "group": {"session_timeout_ms": 50_000},
        "enrich": [{"table": "stations", "features": ["height"]}],
    },
    subject="the test",
)
GRANTS: Final[Mapping[Service, Grant]] = {each: grant(DEPLOYMENT, each, principal=f"User:{each}") for each in Service}

TRIED: Final[Mapping[Resource, tuple[str, ...]]] = {
    Resource.TOPIC: ("READ", "WRITE", "CREATE", "DELETE", "ALTER", "DESCRIBE", "DESCRIBE_CONFIGS", "ALTER_CONFIGS"),
    Resource.GROUP: ("READ", "DELETE", "DESCRIBE", "DESCRIBE_CONFIGS", "ALTER_CONFIGS"),
    Resource.TRANSACTIONAL_ID: ("WRITE",),
}

DENIALS: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)


def names(resource: Resource) -> list[str]:
    """Every name that some service has a right to, one of each beginning, and one that nobody has."""
    found = {
        right.name + ("0" if right.pattern is Pattern.PREFIXED else "")
        for each in GRANTS.values()
        for right in each.rights
        if right.resource is resource
    }
    return [*sorted(found), NOBODYS]


LATER: Final = frozenset(
    {
        KafkaError._PARTITION_EOF,
        KafkaError.TOPIC_ALREADY_EXISTS,
        KafkaError.GROUP_ID_NOT_FOUND,
        KafkaError.UNKNOWN_MEMBER_ID,
    }
)
"""What the broker says only to who is allowed to ask."""


def is_allowed(error: KafkaError | None) -> bool:
    """Whether that was no denial. What is neither that nor said to who may ask is a mistake of this test."""
    assert error is None or error.code() in DENIALS | LATER, error
    return error is None or error.code() in LATER


def outcome(answer: "Future[Any]") -> KafkaError | None:
    """The error with which the broker answered."""
    try:
        found = answer.result(PATIENCE.total_seconds())
    except KafkaException as error:
        refused: KafkaError = error.args[0]
        return refused
    if isinstance(found, ConsumerGroupTopicPartitions):
        # The topic is nobody's, and refused to everybody: only what is said of the group matters.
        errors: list[KafkaError] = [each.error for each in found.topic_partitions or () if each.error is not None]
        return next((each for each in errors if each.code() == KafkaError.GROUP_AUTHORIZATION_FAILED), None)
    return None


@dataclass(frozen=True)
class Client:
    """A client of the broker that tries everything, as one service. Whoever waits for its answers holds it."""

    service: Service
    config: Mapping[str, Any]
    admin: AdminClient

    @classmethod
    def of(cls, broker: GuardedBroker, service: Service) -> "Client":
        config = {**signed_in(broker.bootstrap, service.value).client(), **QUIET}
        return cls(service, config, AdminClient(config))

    def allowed(self) -> set[Cell]:
        """Everything that the broker let it do with topics, groups and transactions."""
        topics, groups = names(Resource.TOPIC), names(Resource.GROUP)
        found = {(Resource.TOPIC, name, "WRITE") for name in self._written(topics)}
        found |= allowed_of(Resource.TOPIC, self._asked_of_topics(topics))
        # A client that may not even see a topic asks for no records of it.
        seen = [name for name in topics if (Resource.TOPIC, name, "DESCRIBE") in found]
        found |= {(Resource.TOPIC, name, "READ") for name in self._read(seen)}
        found |= allowed_of(Resource.GROUP, self._asked_of_groups(groups))
        ids = filter(self._begins, names(Resource.TRANSACTIONAL_ID))
        return found | {(Resource.TRANSACTIONAL_ID, name, "WRITE") for name in ids}

    def _read(self, topics: list[str]) -> set[str]:
        """Topics that it fetches from."""
        heard: dict[str, bool] = {}
        # Of those that it may look for: the client does, whether it needs one or not.
        group = next(each.name for each in GRANTS[self.service].rights if each.resource is Resource.GROUP)
        config = {"group.id": group, "enable.partition.eof": True, "enable.auto.commit": False}
        with closing(Consumer({**self.config, **config})) as consumer:
            consumer.assign([TopicPartition(name, 0, 0) for name in topics])

            def is_complete() -> bool:
                for record in consumer.consume(100, timeout=0.2):
                    heard[str(record.topic())] = is_allowed(record.error())
                return len(heard) == len(topics)

            eventually(is_complete, within=PATIENCE, what="an answer for each topic")
        return {name for name, may in heard.items() if may}

    def _written(self, topics: list[str]) -> set[str]:
        """Topics that it writes to."""
        heard: dict[str, bool] = {}
        producer = Producer(dict(self.config))
        for name in topics:
            producer.produce(
                name,
                b"x",
                partition=0,
                on_delivery=lambda error, record: heard.update({str(record.topic()): is_allowed(error)}),
            )
        producer.flush(PATIENCE.total_seconds())
        assert heard.keys() == set(topics)
        return {name for name, may in heard.items() if may}

    def _asked_of_topics(self, topics: list[str]) -> Answers:
        """What the admin's requests about topics come to; none of them would change anything."""
        admin, entry = self.admin, ConfigEntry("retention.ms", "1000", incremental_operation=AlterConfigOpType.SET)
        described = [ConfigResource(ResourceType.TOPIC, name) for name in topics]
        altered = [ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry]) for name in topics]
        return {
            "CREATE": admin.create_topics([NewTopic(name, 1) for name in topics], validate_only=True),
            "DELETE": admin.delete_records([TopicPartition(name, 0, 0) for name in topics]),
            "ALTER": admin.create_partitions([NewPartitions(name, 2) for name in topics], validate_only=True),
            "DESCRIBE": admin.describe_topics(TopicCollection(topics)),
            "DESCRIBE_CONFIGS": admin.describe_configs(described),
            "ALTER_CONFIGS": admin.incremental_alter_configs(altered, validate_only=True),
        }

    def _asked_of_groups(self, groups: list[str]) -> Answers:
        """The same about groups. To commit for one takes a topic, too, which is not there for anybody."""
        admin, nowhere = self.admin, [TopicPartition(NOBODYS, 0, 0)]
        entry = ConfigEntry("consumer.session.timeout.ms", "50000", incremental_operation=AlterConfigOpType.SET)
        described = [ConfigResource(ResourceType.GROUP, name) for name in groups]
        altered = [ConfigResource(ResourceType.GROUP, name, incremental_configs=[entry]) for name in groups]
        commits: dict[str, Future[Any]] = {}
        for name in groups:
            commits |= admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(name, nowhere)])
        return {
            "READ": commits,
            "DELETE": admin.delete_consumer_groups(groups),
            "DESCRIBE": admin.describe_consumer_groups(groups),
            "DESCRIBE_CONFIGS": admin.describe_configs(described),
            "ALTER_CONFIGS": admin.incremental_alter_configs(altered, validate_only=True),
        }

    def _begins(self, transactional_id: str) -> bool:
        """Whether it may be the producer of this id."""
        producer = Producer({**self.config, "transactional.id": transactional_id})
        try:
            producer.init_transactions(PATIENCE.total_seconds())
        except KafkaException as error:
            return is_allowed(error.args[0])
        return True

    def asked_of_the_cluster(self) -> Answers:
        """What nobody but an administrator may do."""
        admin = self.admin
        entry = ConfigEntry("log.cleaner.threads", "1", incremental_operation=AlterConfigOpType.SET)
        mine = (ResourceType.TOPIC, NOBODYS, ResourcePatternType.LITERAL, f"User:{self.service}", "*")
        right = (AclOperation.ALL, AclPermissionType.ALLOW)
        password = UserScramCredentialUpsertion(
            self.service.value, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096), b"x"
        )
        return {
            "make any topic": admin.create_topics([NewTopic("of-its-own", 1)], validate_only=True),
            "give itself a right": admin.create_acls([AclBinding(*mine, *right)]),
            "take rights away": admin.delete_acls([AclBindingFilter(*mine, *right)]),
            "look at a broker": admin.describe_configs([ConfigResource(ResourceType.BROKER, "1")]),
            "change a broker": admin.incremental_alter_configs(
                [ConfigResource(ResourceType.BROKER, "1", incremental_configs=[entry])], validate_only=True
            ),
            "give somebody a password": admin.alter_user_scram_credentials([password]),
        }


def allowed_of(resource: Resource, answers: Answers) -> set[Cell]:
    """What was not denied."""
    return {(resource, name_of(asked), operation) for operation, asked, error in outcomes(answers) if is_allowed(error)}


def outcomes(answers: Answers) -> list[tuple[str, object, KafkaError | None]]:
    """Everything that was asked, and the error with which the broker answered.

    All are waited for before one is judged: a client that goes while it is asked takes the process with it.
    """
    return [
        (operation, asked, outcome(answer)) for operation, about in answers.items() for asked, answer in about.items()
    ]


def name_of(asked: object) -> str:
    """What was asked about: a name, or something that has one."""
    return str(getattr(asked, "name", None) or getattr(asked, "topic", None) or asked)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedBroker]:
    """A broker on which every service has its set, and every topic that any of them names is there."""
    with guarded_broker(tmp_path_factory.mktemp("guarded"), [each.value for each in Service]) as broker:
        Admin(broker.kafka).ensure_topics([TopicSpec(name) for name in names(Resource.TOPIC)])
        give(broker.kafka, GRANTS.values())
        owner, count = AdminClient(broker.kafka.client()), sum(len(each.rights) for each in GRANTS.values())
        eventually(lambda: len(list_rights(owner)) == count, within=PATIENCE, what="the rights, at the broker")
        yield broker


@pytest.mark.parametrize("service", Service, ids=str)
def test_a_service_may_do_what_its_set_says_and_nothing_else(guarded: GuardedBroker, service: Service) -> None:
    tried = {
        (resource, name, operation)
        for resource, operations in TRIED.items()
        for name in names(resource)
        for operation in operations
    }
    given = {cell for cell in tried if is_given(GRANTS[service].rights, *cell)}
    found = Client.of(guarded, service).allowed()
    assert found - given == set(), "allowed, and in no set"
    assert given - found == set(), "in the set, and denied"
    assert 0 < len(given) < len(tried)


@pytest.mark.parametrize("service", Service, ids=str)
def test_no_service_may_do_anything_to_the_cluster(guarded: GuardedBroker, service: Service) -> None:
    client = Client.of(guarded, service)
    answered = outcomes(client.asked_of_the_cluster())
    assert len(answered) == 6
    assert {what for what, _, error in answered if is_allowed(error)} == set()
    # The client says of a denial that there are none.
    assert list_rights(client.admin) == []
    assert list_rights(AdminClient(guarded.kafka.client()))


def list_rights(admin: AdminClient) -> list[AclBinding]:
    """All rights that somebody has, as far as one may look at them."""
    anything: Any = None  # the stubs know no filter without names
    every = AclBindingFilter(
        ResourceType.ANY,
        anything,
        ResourcePatternType.ANY,
        anything,
        anything,
        AclOperation.ANY,
        AclPermissionType.ANY,
    )
    found: list[AclBinding] = admin.describe_acls(every).result(PATIENCE.total_seconds())
    return found
