"""Following a topic on an event loop: committed records as they come, for services with many connections.

The one place that knows aiokafka. Unlike `millrace.kafka.reading`, which blocks a thread, a follower costs its loop a
task; a service with many subscribers lets them share one.
"""

import asyncio
import logging
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import attrgetter
from types import TracebackType
from typing import Any, Final, Self

import aiokafka
import numpy as np
from aiokafka import errors as client_errors
from aiokafka.structs import TopicPartition as ClientPartition

from millrace.core.errors import FatalError, MillraceError, RequestError, TransientError
from millrace.core.records import RecordBatch
from millrace.kafka.admin import Admin
from millrace.kafka.ranges import offsets_at
from millrace.kafka.reading import Position, Start
from millrace.kafka.tokens import ClientCredentials
from millrace.process.settings import PASSWORD_MECHANISMS, KafkaSettings, SecurityProtocol

_PATIENCE: Final = timedelta(seconds=10)
"""How long the first answer of a cluster may take."""

_METADATA_AGE: Final = timedelta(seconds=30)
"""How soon a follower hears of partitions that a topic has gained."""

_PARTITIONS: Final = attrgetter("partition")
_OFFSETS: Final = attrgetter("offset")
_TIMES: Final = attrgetter("timestamp")
_KEYS: Final = attrgetter("key")
_VALUES: Final = attrgetter("value")


class Follower:
    """Reads committed records of one topic, in the order of each partition. Belongs to one event loop.

    Nothing is committed and there is no consumer group, so a follower disturbs nobody. Use `open`.

    Attributes:
        positions: By partition, where the next record will come from; also past records that nobody may see (aborted
            ones, marks of transactions), once these were passed.
    """

    def __init__(self, topic: str, consumer: Any, positions: Mapping[int, int]) -> None:  # noqa: ANN401 - aiokafka is untyped
        self._topic = topic
        self._consumer = consumer
        self._partitions = {number: ClientPartition(topic, number) for number in positions}
        self.positions = dict(positions)

    @classmethod
    async def open(
        cls, kafka: KafkaSettings, topic: str, positions: Mapping[int, int], *, fetch_bytes: int = 4 * 2**20
    ) -> Self:
        """Begin to follow a topic.

        Args:
            kafka: The cluster.
            topic: An existing topic.
            positions: By partition, the first offset to read; see `find_place`.
            fetch_bytes: About how much is read ahead.

        Raises:
            TransientError: No broker answers.
            FatalError: The broker refuses this client.
            RequestError: The settings ask for what this client cannot do.
        """
        if kafka.security_protocol is not SecurityProtocol.PLAINTEXT:
            # aiokafka takes a token that is refused for one that is accepted, and does not say why a door stays shut.
            await asyncio.to_thread(Admin(kafka, limit=_PATIENCE).topic_names)
        # It logs what it raises, and what it will try again.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        consumer = aiokafka.AIOKafkaConsumer(
            **client_settings(kafka),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            fetch_max_wait_ms=100,
            fetch_max_bytes=fetch_bytes,
            max_partition_fetch_bytes=fetch_bytes,
            metadata_max_age_ms=_milliseconds(_METADATA_AGE),
        )
        follower = cls(topic, consumer, positions)
        try:
            async with asyncio.timeout(_PATIENCE.total_seconds()):
                await consumer.start()
                consumer.assign(list(follower._partitions.values()))
                for number, place in follower._partitions.items():
                    consumer.seek(place, positions[number])
        except (client_errors.KafkaError, TimeoutError, OSError) as error:
            await consumer.stop()
            raise follower._explain(error) from error
        except BaseException:
            await consumer.stop()
            raise
        return follower

    async def read(self, limit: int = 1_000, timeout: timedelta = timedelta(milliseconds=200)) -> RecordBatch:
        """At most `limit` records; none when `timeout` passes without any, and while the cluster is away.

        Raises:
            RequestError: Records that were to be read next are deleted, or the topic is.
            TransientError: The answer cannot be read for now; call again.
            FatalError: The broker refuses this client.
        """
        try:
            fetched = await self._consumer.getmany(timeout_ms=_milliseconds(timeout), max_records=limit)
            for number, place in self._partitions.items():
                self.positions[number] = await self._consumer.position(place)
        except client_errors.KafkaError as error:
            raise self._explain(error) from error
        return _to_batch(self._topic, [record for records in fetched.values() for record in records])

    @property
    def is_outgrown(self) -> bool:
        """Whether the topic has partitions that this follower does not read. Heard within a minute."""
        known = self._consumer.partitions_for_topic(self._topic)
        return known is not None and len(known) > len(self._partitions)

    async def close(self) -> None:
        """Release everything. May be called twice."""
        await self._consumer.stop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _explain(self, error: Exception) -> MillraceError:
        doing = f"following {self._topic!r}"
        match error:
            case client_errors.OffsetOutOfRangeError() | client_errors.NoOffsetForPartitionError():
                return RequestError(
                    f"{doing}: the records that come next are deleted", remedy="begin with the oldest that is left"
                )
            case client_errors.UnknownTopicOrPartitionError():
                return RequestError(f"{doing}: there is no such topic", remedy="create it, or check the spelling")
            case (
                client_errors.AuthenticationFailedError()
                | client_errors.TopicAuthorizationFailedError()
                | client_errors.ClusterAuthorizationFailedError()
            ):
                return FatalError(f"{doing}: the broker refuses this client: {error}", remedy="check its credentials")
        return TransientError(
            f"{doing}: {str(error) or type(error).__name__}",
            remedy="check that the broker runs and that MILLRACE_KAFKA__BOOTSTRAP names it",
        )


@dataclass(frozen=True, slots=True)
class Place:
    """Where a start lies in a topic.

    Attributes:
        positions: By partition, of all of them, the first offset to read.
        deleted: By partition, how many offsets lie between what was asked for and the oldest record that is left; empty
            where that is nothing.
    """

    positions: Mapping[int, int]
    deleted: Mapping[int, int] = field(default_factory=dict)


def find_place(kafka: KafkaSettings, admin: Admin, topic: str, start: Start) -> Place:
    """Where a start lies. Blocks.

    Offsets by partition do not restrict the reading: partitions that are not named begin with their oldest record,
    because a topic may have gained them since the offsets were noted.

    Raises:
        RequestError: There is no such topic, or an offset lies beyond the end of its partition.
        TransientError: No broker answers.
        FatalError: The broker refuses this client.
    """
    ends = {place.partition: ends for place, ends in admin.ends([topic]).items()}
    match start:
        case Position.EARLIEST:
            return Place({number: end.start for number, end in ends.items()})
        case Position.LATEST:
            return Place({number: end.stable for number, end in ends.items()})
        case datetime():
            return Place(offsets_at(kafka, topic, start))
    asked = {number: start.get(number, ends[number].start) for number in ends}
    for number, offset in {**start, **asked}.items():
        if number not in ends or offset > ends[number].high:
            end = f"ends at {ends[number].high}" if number in ends else "does not exist"
            raise RequestError(
                f"offset {offset} of {topic}-{number} was never written: the partition {end}",
                remedy="if the topic was made anew, begin at earliest",
            )
    deleted = {number: ends[number].start - offset for number, offset in asked.items() if offset < ends[number].start}
    return Place({number: max(offset, ends[number].start) for number, offset in asked.items()}, deleted)


def client_settings(kafka: KafkaSettings) -> dict[str, Any]:
    """The cluster's settings by this client's names. Secrets are in clear in what comes back: do not log it.

    Raises:
        RequestError: They ask for what this client cannot do: Kerberos, further keys of librdkafka.
    """
    knows_mechanism = kafka.sasl_mechanism is None or kafka.sasl_mechanism in PASSWORD_MECHANISMS or kafka.oauth
    if kafka.properties or not knows_mechanism:
        raise RequestError(
            "predictions are streamed by a client that knows neither kafka.properties nor Kerberos",
            remedy="let the gateway sign in by PLAIN, SCRAM, OAUTHBEARER with kafka.oauth, or a certificate",
        )
    keys = kafka.client()
    context: ssl.SSLContext | None = None
    if kafka.security_protocol in {SecurityProtocol.SSL, SecurityProtocol.SASL_SSL}:
        context = ssl.create_default_context(cafile=keys.get("ssl.ca.location"))  # type: ignore[arg-type]
        context.check_hostname = kafka.ssl_verify_hostname
        if kafka.ssl_certificate is not None:
            context.load_cert_chain(kafka.ssl_certificate, kafka.ssl_key, str(keys.get("ssl.key.password", "")) or None)
    return {
        "bootstrap_servers": kafka.bootstrap,
        "client_id": kafka.client_id,
        "security_protocol": kafka.security_protocol.value.upper(),
        "sasl_mechanism": str(keys.get("sasl.mechanism", "PLAIN")),
        "sasl_plain_username": keys.get("sasl.username"),
        "sasl_plain_password": keys.get("sasl.password"),
        "sasl_oauth_token_provider": ClientCredentials(kafka.oauth) if kafka.oauth else None,
        "ssl_context": context,
    }


def _to_batch(topic: str, records: Sequence[Any]) -> RecordBatch:
    count = len(records)
    return RecordBatch(
        topic,
        np.fromiter(map(_PARTITIONS, records), np.int32, count),
        np.fromiter(map(_OFFSETS, records), np.int64, count),
        np.fromiter(map(_TIMES, records), np.int64, count),
        list(map(_KEYS, records)),
        list(map(_VALUES, records)),
        (None,) * count,
    )


def _milliseconds(span: timedelta) -> int:
    return span // timedelta(milliseconds=1)
