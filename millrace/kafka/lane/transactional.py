"""The writer of the exactly-once lane: one transactional producer."""

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final, TypeVar

from confluent_kafka import KafkaException, Producer

from millrace.core.errors import TransientError
from millrace.core.records import NextOffsets, OutputBatch
from millrace.kafka.lane.ports import Reader
from millrace.kafka.lane.producing import CLIENT_LOG, PAUSE, producer_config
from millrace.kafka.lane.reader import positions
from millrace.kafka.lane.spec import LaneSpec
from millrace.kafka.lane.triage import (
    Recovery,
    Step,
    StepError,
    as_fatal,
    explain,
    kafka_error,
    triage,
    when_out_of_time,
)
from millrace.kafka.messages import enqueue
from millrace.process.settings import ClientConfig, KafkaSettings

Result = TypeVar("Result")

SETTLE: Final = timedelta(seconds=1)
"""How long an abort waits for what is on its way; without an answer it aborts all the same."""

TAKE_OVER: Final = timedelta(seconds=30)
"""How long to wait for the coordinator to settle what an earlier holder of the identity left."""


class TransactionalWriter:
    """A transactional producer. See `ports.Writer`.

    Settling, and every other step, is bounded by the transaction timeout: what takes longer is the broker's to abort.

    Args:
        kafka: How to reach the cluster.
        spec: The lane's spec.
        transactional_id: The identity to take; an earlier holder is fenced.

    Raises:
        TransientError: The broker is away, or still busy with what an earlier holder left.
        FatalError: The broker refuses.
    """

    def __init__(self, kafka: KafkaSettings, spec: LaneSpec, transactional_id: str) -> None:
        self._id = transactional_id
        self._bound = spec.transaction_timeout
        self._settled_by = 0.0  # until when a flush, and the step after it, may go on
        config: ClientConfig = {
            **producer_config(kafka, spec),
            "transactional.id": transactional_id,
            "transaction.timeout.ms": round(spec.transaction_timeout.total_seconds() * 1000),
            # After a commit the broker still writes markers, and refuses the next transaction until they are there.
            # The client asks again after this long; its default of 100 ms would be the cost of every transaction.
            "retry.backoff.ms": 5,
        }
        self._producer: Producer | None = self._connect(config)
        try:
            self._step(Step.INIT, self._client.init_transactions, time.monotonic() + TAKE_OVER.total_seconds())
        except StepError as error:
            self.close()
            if error.recovery is Recovery.FATAL:
                raise as_fatal(error.cause) from error
            raise TransientError(error.cause.message, remedy=error.cause.remedy) from error

    def begin(self) -> None:
        """See `ports.Writer`."""
        self._step(Step.BEGIN, lambda _: self._client.begin_transaction())

    def send(self, outputs: OutputBatch) -> None:
        """See `ports.Writer`."""
        row = 0

        def queue_rest(patience: float) -> None:
            nonlocal row
            give_up = time.monotonic() + patience
            while (row := self._enqueue(outputs, row)) < len(outputs):
                if time.monotonic() > give_up:
                    raise StepError(
                        Recovery.ABORT,
                        TransientError(f"{self._id}: the producer's queue stays full", remedy="check the broker"),
                    )
                self._client.poll(PAUSE)

        self._step(Step.SEND, queue_rest)

    def flush(self) -> None:
        """See `ports.Writer`. An output that fails ends the transaction before the group is asked."""
        self._settled_by = time.monotonic() + self._bound.total_seconds()
        self._step(Step.FLUSH, self._flush, self._settled_by)

    def prepare(self, next_offsets: NextOffsets, reader: Reader) -> Callable[[], None]:
        """See `ports.Writer`. The broker checks that the reader is still a member of its group."""
        offsets, membership = positions(next_offsets), reader.membership()
        send = self._client.send_offsets_to_transaction

        def settle() -> None:
            self._step(Step.SEND_OFFSETS, lambda patience: send(offsets, membership, patience), self._settled_by)
            self._step(Step.COMMIT, self._client.commit_transaction, self._settled_by)

        return settle

    def abort(self) -> None:
        """See `ports.Writer`."""
        # An abort that reaches the broker before the partitions of its transaction are registered there is refused, and
        # the refusal costs the producer. What has been sent completely can be aborted cheaply.
        with suppress(KafkaException, SystemError):
            self._client.flush(SETTLE.total_seconds())
        self._step(Step.ABORT, self._client.abort_transaction)

    def close(self) -> None:
        """See `ports.Writer`."""
        if self._producer is not None:
            # Its own `close` would wait for the broker; what is open is the successor's to settle.
            self._producer.purge(blocking=False)
            self._producer = None

    def _connect(self, config: ClientConfig) -> Producer:
        logger: dict[str, Any] = {"logger": CLIENT_LOG}
        return Producer({**config, **logger})

    def _enqueue(self, outputs: OutputBatch, start: int) -> int:
        """Queue records from row `start` on as far as there is room; the row to go on from."""
        return enqueue(self._client, outputs, start)

    @property
    def _client(self) -> Producer:
        if self._producer is None:
            raise StepError(Recovery.REBUILD, TransientError(f"{self._id}: the producer was dropped"))
        return self._producer

    def _flush(self, patience: float) -> None:
        if self._client.flush(patience):
            raise StepError(
                Recovery.ABORT,
                TransientError(f"{self._id}: outputs were not acknowledged in time", remedy="check the broker"),
            )

    def _step(self, step: Step, call: Callable[[float], Result], give_up: float | None = None) -> Result:
        """Call with the seconds that are left, again for as long as the client calls the failure retriable."""
        if give_up is None:
            give_up = time.monotonic() + self._bound.total_seconds()
        while True:
            try:
                return call(max(give_up - time.monotonic(), PAUSE))
            except (KafkaException, SystemError) as exception:
                error = kafka_error(exception)
                recovery = triage(error, step)
                if recovery is Recovery.RETRY and time.monotonic() >= give_up:
                    recovery = when_out_of_time(step)
                if recovery is not Recovery.RETRY:
                    raise StepError(recovery, explain(error, f"{self._id}: {step.value}")) from exception
            time.sleep(PAUSE)
