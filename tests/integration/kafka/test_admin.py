import uuid
from datetime import timedelta

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka import TopicPartition as ClientPartition

from millrace.core.errors import RequestError, TransientError
from millrace.core.records import TopicPartition
from millrace.kafka.admin import Admin, PartitionEnds, TopicSpec
from millrace.process.settings import KafkaSettings
from millrace.testing.broker import Broker
from millrace.testing.plugin import TopicFactory
from millrace.testing.waiting import eventually


@pytest.fixture
def admin(broker: Broker) -> Admin:
    return Admin(broker.kafka)


def test_topics_are_created_once(admin: Admin) -> None:
    spec = TopicSpec(f"{uuid.uuid4().hex}.features", 2, {"retention.ms": "1000"})
    assert admin.ensure_topics([spec]) == {spec.name}
    assert admin.ensure_topics([spec]) == frozenset()
    assert admin.partition_counts([spec.name]) == {spec.name: 2}
    assert admin.topic_config(spec.name)["retention.ms"] == "1000"
    assert spec.name in admin.topic_names()
    admin.delete_topics([spec.name])
    admin.delete_topics([spec.name])


def test_nothing_to_create_is_no_question(admin: Admin) -> None:
    assert admin.ensure_topics([]) == frozenset()
    assert admin.partition_counts([]) == {}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (TopicSpec("", 3), "has 1 partitions, not 3"),
        (TopicSpec("", 1, {"cleanup.policy": "compact"}), "cleanup.policy=delete, not compact"),
    ],
)
def test_another_topic_of_the_name_is_refused(admin: Admin, topic: TopicFactory, spec: TopicSpec, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        admin.ensure_topics([TopicSpec(topic(), spec.partitions, spec.config)])


def test_a_missing_topic_is_named(admin: Admin) -> None:
    with pytest.raises(RequestError, match=r"'no\.such\.topic': there is no such topic"):
        admin.partition_counts(["no.such.topic"])
    with pytest.raises(RequestError, match=r"no\.such\.topic"):
        admin.ends(["no.such.topic"])


def test_a_bad_name_is_refused(admin: Admin) -> None:
    with pytest.raises(RequestError, match="not valid name"):
        admin.ensure_topics([TopicSpec("not valid name")])


def test_a_broker_that_is_away_is_said() -> None:
    with pytest.raises(TransientError, match="creating topic 'a'"):
        Admin(KafkaSettings(bootstrap="127.0.0.1:9"), limit=timedelta(seconds=1)).ensure_topics([TopicSpec("a")])


def test_ends_tell_an_open_transaction(broker: Broker, admin: Admin, topic: TopicFactory) -> None:
    name = topic(partitions=2)
    producer = Producer(broker.kafka.client(**{"transactional.id": name}))
    producer.init_transactions(10)
    producer.begin_transaction()
    producer.produce(name, b"1", partition=0)
    producer.flush(10)
    open_ends = admin.ends([name])
    assert open_ends[TopicPartition(name, 0)] == PartitionEnds(start=0, stable=0, high=1)  # type: ignore[arg-type]
    assert open_ends[TopicPartition(name, 0)].has_open_transaction
    assert not open_ends[TopicPartition(name, 1)].has_open_transaction
    producer.commit_transaction(10)
    eventually(lambda: not admin.ends([name])[TopicPartition(name, 0)].has_open_transaction)


def test_lag_is_what_is_not_committed(broker: Broker, admin: Admin, topic: TopicFactory) -> None:
    name, group = topic(partitions=2), uuid.uuid4().hex
    producer = Producer(broker.kafka.client())
    for partition in (0, 0, 0, 1):
        producer.produce(name, b"value", partition=partition)
    assert producer.flush(10) == 0
    assert admin.committed(group) == {}
    consumer = Consumer(broker.kafka.client(**{"group.id": group}))
    consumer.commit(offsets=[ClientPartition(name, 0, 2)], asynchronous=False)
    consumer.close()
    assert admin.committed(group) == {TopicPartition(name, 0): 2}
    assert admin.lag(group, [name]) == {TopicPartition(name, 0): 1, TopicPartition(name, 1): 1}
    admin.delete_groups([group])
    with pytest.raises(RequestError, match=f"deleting group '{group}'"):
        admin.delete_groups([group])


def test_a_groups_session_can_be_set_before_it_exists(admin: Admin) -> None:
    admin.configure_group(uuid.uuid4().hex, {"consumer.session.timeout.ms": "6000"})
    with pytest.raises(RequestError, match="configuring group"):
        admin.configure_group(uuid.uuid4().hex, {"consumer.session.timeout.ms": "6"})
