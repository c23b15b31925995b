"""What a test gets from the test kit."""

from confluent_kafka import Producer

from millrace.kafka.admin import Admin
from millrace.testing.broker import Broker
from millrace.testing.plugin import TopicFactory


def test_topics_are_made_as_asked_and_differ(broker: Broker, topic: TopicFactory) -> None:
    first, second = topic("features", 3, cleanup_policy="compact"), topic("features")
    admin = Admin(broker.kafka)
    assert first != second
    assert admin.partition_counts([first, second]) == {first: 3, second: 1}
    assert admin.topic_config(first)["cleanup.policy"] == "compact"


def test_a_topic_can_be_written_at_once(broker: Broker, topic: TopicFactory) -> None:
    producer = Producer(broker.kafka.client())
    producer.produce(topic(), b"value")
    assert producer.flush(10) == 0
