"""Does a broker work? Asked by writing a record and reading it back, which an open port does not promise."""

import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from millrace.kafka.errors import code_of
from millrace.process.settings import ClientConfig

PROBE_TOPIC: Final = "__millrace.probe"
"""One record per start of a broker, kept for minutes."""


def answers(host: str, port: int, *, patience: timedelta) -> bool:
    """Whether a record that is written to this broker can be read back within `patience`.

    Returns at once when nothing listens on the port.
    """
    with suppress(OSError), socket.create_connection((host, port), timeout=1):
        return _round_trip({"bootstrap.servers": f"{host}:{port}", "log_level": 0}, patience.total_seconds())
    return False


def _round_trip(client: ClientConfig, patience_secs: float) -> bool:
    try:
        _ensure_topic(client, patience_secs)
        nonce = uuid.uuid4().bytes
        offset = _write(client, nonce, patience_secs)
        if offset is None:
            return False
        with _reading(client, offset) as consumer:
            record = consumer.poll(patience_secs)
            return record is not None and record.error() is None and record.value() == nonce
    except KafkaException:
        return False


def _write(client: ClientConfig, value: bytes, patience_secs: float) -> int | None:
    """Write one record and return its offset, or None if that was not acknowledged."""
    offsets: list[int | None] = []

    def on_delivery(error: KafkaError | None, record: Message) -> None:
        offsets.append(None if error else record.offset())

    producer = Producer({**client, "acks": "all", "message.timeout.ms": int(patience_secs * 1000)})
    producer.produce(PROBE_TOPIC, value, partition=0, on_delivery=on_delivery)
    producer.flush(patience_secs)
    return offsets[0] if offsets else None


def _ensure_topic(client: ClientConfig, patience_secs: float) -> None:
    topic = NewTopic(PROBE_TOPIC, 1, 1, config={"retention.ms": "600000"})
    admin = AdminClient(client)  # Must live until the answer is there.
    created = admin.create_topics([topic], request_timeout=patience_secs)
    try:
        created[PROBE_TOPIC].result(patience_secs)
    except KafkaException as error:
        if code_of(error) != KafkaError.TOPIC_ALREADY_EXISTS:
            raise


@contextmanager
def _reading(client: ClientConfig, offset: int) -> Iterator[Consumer]:
    consumer = Consumer({**client, "group.id": "unused", "enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition(PROBE_TOPIC, 0, offset)])
        yield consumer
    finally:
        consumer.close()
