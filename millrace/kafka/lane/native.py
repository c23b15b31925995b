"""The native body: reader and writers whose records never become Python objects.

It differs from the Python body in who moves records, and in nothing else: the module `millrace_native` (see `native/`)
takes the place of confluent-kafka's clients, with their methods and errors, and over the same librdkafka. So every rule
about assignments, offsets and errors stands once, in the classes that are extended here.
"""

from collections.abc import Sequence
from datetime import timedelta
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
from confluent_kafka import KafkaError

from millrace.core.errors import FatalError
from millrace.core.records import OutputBatch, RecordBatch
from millrace.kafka.lane.at_least_once import AtLeastOnceWriter
from millrace.kafka.lane.producing import CLIENT_LOG
from millrace.kafka.lane.reader import KafkaReader
from millrace.kafka.lane.transactional import TransactionalWriter
from millrace.process.settings import ClientConfig

MODULE: Final = "millrace_native"


def native_library() -> str | None:
    """The version of librdkafka under the native body; None where the body is not built.

    Raises:
        FatalError: It is built, but does not find its way into this confluent-kafka.
    """
    if find_spec(MODULE) is None:
        return None
    try:
        version: str = import_module(MODULE).LIBRDKAFKA
    except ImportError as error:
        raise FatalError(
            f"the native lane cannot be loaded: {error}",
            remedy="build it again with `make native`, or set MILLRACE_LANE=python",
        ) from error
    return version


class NativeReader(KafkaReader):
    """A member of the lane's consumer group. See `ports.Reader`.

    Keys, values and headers are columns over the client's own buffers, which live as long as the columns.
    """

    def _connect(self, config: ClientConfig) -> Any:  # noqa: ANN401  # speaks as confluent-kafka's does
        return import_module(MODULE).Consumer(config, CLIENT_LOG)

    def _fetch(self, limit: int, timeout: timedelta, linger: timedelta) -> tuple[RecordBatch, list[KafkaError]]:
        consumer: Any = self._consumer
        partitions, offsets, timestamps, keys, values, headers, errors = consumer.poll_columns(
            limit, timeout.total_seconds(), linger.total_seconds()
        )
        batch = RecordBatch(
            self._spec.topic,
            np.frombuffer(partitions, np.int32),
            np.frombuffer(offsets, np.int64),
            np.frombuffer(timestamps, np.int64),
            keys,
            values,
            headers,
        )
        return batch, errors


class NativeTransactionalWriter(TransactionalWriter):
    """A transactional producer. See `ports.Writer`."""

    def _connect(self, config: ClientConfig) -> Any:  # noqa: ANN401  # speaks as confluent-kafka's does
        return import_module(MODULE).Producer(config, CLIENT_LOG)

    def _enqueue(self, outputs: OutputBatch, start: int) -> int:
        return _enqueue(self._client, outputs, start)


class NativeAtLeastOnceWriter(AtLeastOnceWriter):
    """An idempotent producer without transactions. See `ports.Writer`."""

    def _connect(self, config: ClientConfig) -> Any:  # noqa: ANN401  # speaks as confluent-kafka's does
        return import_module(MODULE).Producer(config, CLIENT_LOG)

    def _enqueue(self, outputs: OutputBatch, start: int) -> int:
        return _enqueue(self._client, outputs, start)

    def _take_failures(self) -> Sequence[KafkaError]:
        client: Any = self._client
        failures: list[KafkaError] = client.failures()
        return failures


def _enqueue(client: Any, outputs: OutputBatch, start: int) -> int:  # noqa: ANN401  # see `_connect`
    row: int = client.enqueue_columns(
        outputs.topic,
        np.ascontiguousarray(outputs.partitions, np.int32),
        np.ascontiguousarray(outputs.timestamps_ms, np.int64),
        outputs.keys,
        outputs.values,
        outputs.headers,
        start,
    )
    return row
