"""Whether a client reaches its cluster, and why not.

A call of librdkafka that fails says only that time ran out; why (refused credentials, a certificate nobody signed) was
told to the error callback meanwhile. `ConnectionNotes` brings the two together.
"""

# The client's own error codes are public and begin with an underscore.
# ruff: noqa: SLF001

import time
from datetime import timedelta
from enum import StrEnum
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, ClusterMetadata

from millrace.core.errors import FatalError, MillraceError, RequestError, TransientError
from millrace.kafka.errors import from_kafka
from millrace.process.settings import ClientConfig

REACH: Final = timedelta(seconds=6)
"""How long a client waits for the first answer of a cluster."""

_SLICE: Final = timedelta(seconds=1)

_GIVE_UP: Final = timedelta(seconds=2)
"""How long to go on when every address refuses: nobody listens there, and waiting rarely changes that."""

READER_GROUP: Final = "millrace-reader"
"""Named by whoever reads without belonging to a group. Nothing is ever committed under it, but the client asks for its
coordinator, and an authoriser wants to hear that this user may know of it."""

QUIET: Final[ClientConfig] = {"log_level": 2}
"""librdkafka writes its troubles to stderr; ours are raised."""


class Link(StrEnum):
    """Whether a client and its cluster hear each other."""

    UP = "up"
    AWAY = "away"
    """No broker answers; the client keeps asking."""


class ConnectionNotes:
    """Remembers why the broker refuses this client. Pass `heard` as the client's `error_cb`."""

    def __init__(self) -> None:
        self._refusal: KafkaError | None = None
        self._away = False

    def heard(self, error: KafkaError) -> None:
        """Keep `error` if no retry can cure it, and that no broker is there."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._away = True
        if isinstance(from_kafka(error, ""), FatalError):
            self._refusal = error

    @property
    def refused(self) -> bool:
        """Whether the broker refuses this client, whatever is asked."""
        return self._refusal is not None

    @property
    def away(self) -> bool:
        """Whether every address that is known refuses or dropped this client, and none has answered since."""
        return self._away

    def answered(self) -> None:
        """A broker has answered after all."""
        self._away = False

    def admitted(self) -> None:
        """The broker has done what this client asked for: what refused it before is over."""
        self._away = False
        self._refusal = None

    def explain(self, error: KafkaException | KafkaError, doing: str) -> MillraceError:
        """The error to raise for a failed call: the refusal behind it where one was heard."""
        plain = from_kafka(error, doing)
        if self._refusal is not None and isinstance(plain, TransientError):
            return from_kafka(self._refusal, doing)
        return plain


def partitions_of(
    client: Consumer | Producer, topic: str, notes: ConnectionNotes, *, doing: str, within: timedelta = REACH
) -> tuple[int, ...]:
    """The partitions of a topic, ascending. Blocks until the cluster answers, at most `within`.

    Raises:
        RequestError: There is no such topic.
        TransientError: No broker answers in time.
        FatalError: The broker refuses this client.
    """
    found = await_metadata(client, topic, notes, doing=doing, within=within).topics[topic]
    if found.error is not None:
        if isinstance(from_kafka(found.error, doing), RequestError):
            raise RequestError(f"{doing}: there is no topic {topic!r}", remedy="check the name, or create it first")
        raise notes.explain(found.error, doing)
    return tuple(sorted(found.partitions))


def topic_names(
    client: Consumer | Producer, notes: ConnectionNotes, *, doing: str, within: timedelta = REACH
) -> frozenset[str]:
    """The topics that this client may see. Blocks until the cluster answers; raises as `partitions_of`."""
    return frozenset(await_metadata(client, None, notes, doing=doing, within=within).topics)


def await_metadata(
    client: Consumer | Producer | AdminClient,
    topic: str | None,
    notes: ConnectionNotes,
    *,
    doing: str,
    within: timedelta = REACH,
) -> ClusterMetadata:
    """The cluster's description of itself, and of one topic or all. Blocks until it answers, at most `within`.

    Asks in slices: between them the error callback is served, so that a refusal ends the wait at once.

    Raises:
        TransientError: No broker answers in time.
        FatalError: The broker refuses this client.
    """
    started = time.monotonic()
    while True:
        waited = time.monotonic() - started
        left = within.total_seconds() - waited
        asked = min(_SLICE.total_seconds(), max(left, 0.1))
        try:
            return client.list_topics(timeout=asked) if topic is None else client.list_topics(topic, timeout=asked)
        except KafkaException as error:
            client.poll(0)
            is_over = left <= 0 or (notes.away and waited >= _GIVE_UP.total_seconds())
            if is_over or notes.refused or not isinstance(from_kafka(error, doing), TransientError):
                raise notes.explain(error, doing) from error
