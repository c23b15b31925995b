"""The writer of the lanes without transactions: outputs first, then whatever says that their inputs are done."""

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from millrace.core.errors import TransientError
from millrace.core.records import NextOffsets, OutputBatch
from millrace.kafka.lane.ports import Reader
from millrace.kafka.lane.producing import CLIENT_LOG, PAUSE, producer_config
from millrace.kafka.lane.spec import LaneSpec
from millrace.kafka.lane.triage import REFUSALS, Recovery, StepError, explain, kafka_error
from millrace.kafka.messages import enqueue
from millrace.process.settings import ClientConfig, KafkaSettings

PATIENCE: Final = timedelta(seconds=30)
"""How long the broker may take to acknowledge an output; afterwards the client gives the output up."""


class AtLeastOnceWriter:
    """An idempotent producer without transactions. See `ports.Writer`.

    What was sent cannot be taken back: after an abort the same inputs are scored again, and what had reached the
    broker is there twice.
    """

    def __init__(self, kafka: KafkaSettings, spec: LaneSpec) -> None:
        self._name = f"the producer of {spec.deployment}, slot {spec.slot}"
        # By error, the first message that met it. A C method as callback, and called for failures only: success costs
        # no Python at all.
        self._failures: dict[KafkaError, Message] = {}
        config: ClientConfig = {
            **producer_config(kafka, spec),
            "message.timeout.ms": round(PATIENCE.total_seconds() * 1000),
            "delivery.report.only.error": True,
        }
        self._producer: Producer | None = self._connect(config)

    def begin(self) -> None:
        """See `ports.Writer`."""
        self._take_failures()

    def send(self, outputs: OutputBatch) -> None:
        """See `ports.Writer`."""
        give_up = time.monotonic() + PATIENCE.total_seconds()
        row = 0
        try:
            while (row := self._enqueue(outputs, row)) < len(outputs):
                if time.monotonic() > give_up:
                    raise StepError(Recovery.REBUILD, TransientError(f"{self._name}: its queue stays full"))
                self._client.poll(PAUSE)
        except (KafkaException, SystemError) as exception:
            raise self._failed(kafka_error(exception)) from exception

    def flush(self) -> None:
        """See `ports.Writer`."""
        try:
            left = self._client.flush(PATIENCE.total_seconds())
        except (KafkaException, SystemError) as exception:
            raise self._failed(kafka_error(exception)) from exception
        if failures := self._take_failures():
            raise self._failed(failures[0])
        if left:
            raise StepError(Recovery.REBUILD, TransientError(f"{self._name}: {left} outputs are not acknowledged"))

    def prepare(self, next_offsets: NextOffsets, reader: Reader) -> Callable[[], None]:
        """See `ports.Writer`."""
        return partial(reader.commit, next_offsets)

    def abort(self) -> None:
        """See `ports.Writer`."""
        try:
            self._client.purge()
            self._client.flush(PATIENCE.total_seconds())
        except (KafkaException, SystemError) as exception:
            raise self._failed(kafka_error(exception)) from exception

    def close(self) -> None:
        """See `ports.Writer`."""
        if self._producer is not None:
            self._producer.purge(blocking=False)
            self._producer = None

    def _connect(self, config: ClientConfig) -> Producer:
        logger: dict[str, Any] = {"logger": CLIENT_LOG}
        return Producer({**config, **logger})

    def _enqueue(self, outputs: OutputBatch, start: int) -> int:
        """Queue records from row `start` on as far as there is room; the row to go on from."""
        return enqueue(self._client, outputs, start, self._failures.setdefault)

    def _take_failures(self) -> Sequence[KafkaError]:
        """Why records were not delivered, since the last call."""
        failures = list(self._failures)
        self._failures.clear()
        return failures

    @property
    def _client(self) -> Producer:
        if self._producer is None:
            raise StepError(Recovery.REBUILD, TransientError(f"{self._name} was dropped"))
        return self._producer

    def _failed(self, error: KafkaError) -> StepError:
        recovery = Recovery.FATAL if error.code() in REFUSALS else Recovery.REBUILD
        return StepError(recovery, explain(error, f"{self._name}: writing"))
