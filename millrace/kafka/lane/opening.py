"""Opening a lane: everything that can be refused is asked here, before the first record."""

from collections.abc import Mapping
from datetime import timedelta
from typing import assert_never

from confluent_kafka import Producer

from millrace.core.lane import Delivery, Lane
from millrace.kafka.admin import Admin
from millrace.kafka.connection import QUIET, ConnectionNotes, partitions_of
from millrace.kafka.lane.bodies import body_of
from millrace.kafka.lane.group import GroupLane
from millrace.kafka.lane.ports import OpenWriter
from millrace.kafka.lane.settling import Here, beside
from millrace.kafka.lane.shared import SharedLane
from millrace.kafka.lane.spec import LaneSpec
from millrace.process.clock import SystemClock
from millrace.process.deployment import GroupProtocol
from millrace.process.settings import KafkaSettings


def open_lane(kafka: KafkaSettings, spec: LaneSpec) -> Lane:
    """Open a lane. Blocks until the broker has answered and an earlier worker of the same slot is fenced.

    Args:
        kafka: How to reach the cluster.
        spec: What the lane is to be.

    Raises:
        RequestError: The input topic does not exist, the group cannot be configured as the spec says, or the body that
            the spec asks for is not built here.
        TransientError: No broker answers in time, or it is still busy with what an earlier worker left.
        FatalError: The broker refuses the credentials or the transactional id.
    """
    if spec.delivery is Delivery.EXACTLY_ONCE:
        return open_exactly_once(kafka, spec)
    _prepare(kafka, spec)
    match spec.delivery:
        case Delivery.AT_LEAST_ONCE:
            body = body_of(spec.body)
            writers: list[OpenWriter] = [lambda: body.at_least_once(kafka, spec)]
            return GroupLane(spec.topic, body.reader(kafka, spec), writers, Here(), SystemClock())
        case Delivery.SHARED:
            return SharedLane(kafka, spec)
        case _:
            assert_never(spec.delivery)


def open_exactly_once(kafka: KafkaSettings, spec: LaneSpec) -> GroupLane:
    """Open a lane that also says which partitions are its own: what a worker with state needs. See `open_lane`."""
    _prepare(kafka, spec)
    reader, writers = body_of(spec.body).reader(kafka, spec), transactional_writers(kafka, spec)
    return GroupLane(spec.topic, reader, writers, beside() if spec.alternate else Here(), SystemClock())


def transactional_writers(kafka: KafkaSettings, spec: LaneSpec) -> list[OpenWriter]:
    """The writers that take turns in an exactly-once lane."""
    body = body_of(spec.body)

    def opener(transactional_id: str) -> OpenWriter:
        return lambda: body.transactional(kafka, spec, transactional_id)

    return [opener(transactional_id) for transactional_id in spec.transactional_ids]


def group_config(spec: LaneSpec) -> Mapping[str, str]:
    """Settings that belong to the group and not to its members."""
    if spec.delivery is Delivery.SHARED:
        return {
            "share.auto.offset.reset": spec.start_at.value,
            "share.isolation.level": "read_committed",
            # After so many deliveries the broker drops a record without a word. This is the most that it allows.
            "share.delivery.count.limit": "10",
            **_session("share", spec.session_timeout),
        }
    if spec.group_protocol is GroupProtocol.CLASSIC:
        return {}
    return _session("consumer", spec.session_timeout)


def _prepare(kafka: KafkaSettings, spec: LaneSpec) -> None:
    _check_topic(kafka, spec.topic)
    if config := group_config(spec):
        Admin(kafka).configure_group(spec.group, config)


def _session(kind: str, timeout: timedelta | None) -> Mapping[str, str]:
    if timeout is None:
        return {}
    milliseconds = round(timeout / timedelta(milliseconds=1))
    # Three heartbeats may go missing before a member counts as gone.
    return {
        f"{kind}.session.timeout.ms": str(milliseconds),
        f"{kind}.heartbeat.interval.ms": str(milliseconds // 4),
    }


def _check_topic(kafka: KafkaSettings, topic: str) -> None:
    """Learn in one question whether the cluster answers, knows us and has the topic."""
    notes = ConnectionNotes()
    client = Producer({**kafka.client(**QUIET), "error_cb": notes.heard})
    partitions_of(client, topic, notes, doing=f"reading {topic!r}")
