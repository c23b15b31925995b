"""The lane of a share group: more workers than partitions, at least once, no order.

The broker hands out records, not partitions. A record is this worker's from the poll that brings it until it is
acknowledged or its lock expires, and the client refuses to poll again before everything it brought is acknowledged.
So this lane delivers one haul at a time: while any of its records is unsettled, nothing further can arrive.
"""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import compress, repeat
from typing import Any, Final

import numpy as np
from confluent_kafka import AcknowledgeType, KafkaError, KafkaException, Message, ShareConsumer
from numpy.typing import NDArray

from millrace.core.errors import MillraceError, RequestError, TransientError
from millrace.core.lane import Discard, LaneStats, Outcome, Polled, Settled
from millrace.core.records import NextOffsets, OutputBatch, RecordBatch
from millrace.kafka.errors import from_kafka
from millrace.kafka.lane.at_least_once import AtLeastOnceWriter
from millrace.kafka.lane.producing import CLIENT_LOG
from millrace.kafka.lane.spec import LaneSpec
from millrace.kafka.lane.triage import Recovery, StepError, as_fatal, is_final
from millrace.kafka.messages import to_batch
from millrace.process.settings import ClientConfig, KafkaSettings

PATIENCE: Final = 10.0
"""Seconds to wait for the broker's answer to acknowledgements."""


class SharedLane:
    """A member of a share group with an idempotent producer. See `Lane`.

    `next_offsets` mean: of the records delivered so far, these are done. Nothing is kept in order, so nothing is known
    of lag or assignment.

    Args:
        kafka: How to reach the cluster.
        spec: The lane's spec.
    """

    def __init__(self, kafka: KafkaSettings, spec: LaneSpec) -> None:
        self._kafka = kafka
        self._spec = spec
        self._writer = AtLeastOnceWriter(kafka, spec)
        self._messages: list[Message] = []  # the haul
        self._haul = RecordBatch.empty(spec.topic)
        self._unsettled: NDArray[np.bool_] = np.empty(0, np.bool_)
        self._written: NDArray[np.bool_] = np.empty(0, np.bool_)
        self._delivered = 0  # rows of the haul given to the caller
        self._has_failed = False
        self._settled: Settled | None = None  # the outcome of a commit, until the caller takes it
        self._is_paused = False
        self._is_closed = False
        self._discard = Discard()
        self._stats = LaneStats()
        self._reported: list[KafkaError] = []
        group: ClientConfig = {
            "group.id": spec.group,
            "share.acknowledgement.mode": "explicit",
            "log.connection.close": False,
        }
        callbacks: dict[str, Any] = {"error_cb": self._reported.append, "logger": CLIENT_LOG}
        self._consumer = ShareConsumer({**kafka.client(**group), **callbacks})
        self._consumer.subscribe([spec.topic])

    def poll(self, limit: int, timeout: timedelta, linger: timedelta = timedelta(0)) -> Polled:
        """See `Lane.poll`. The linger is not used: a haul is what the broker hands out at once."""
        self._has_failed = False
        discard, self._discard = self._discard, Discard()
        if self._is_paused or (self._delivered == len(self._haul) and self._unsettled.any()):
            time.sleep(timeout.total_seconds())  # nothing can arrive
            return Polled(RecordBatch.empty(self._spec.topic), discard)
        try:
            if not self._unsettled.any():
                self._fetch(timeout)
        except MillraceError:
            self._discard = discard
            raise
        rows = slice(self._delivered, self._delivered + limit)
        records = self._haul.take(rows)
        self._delivered += len(records)
        return Polled(records, discard)

    def write(self, outputs: Sequence[OutputBatch], next_offsets: NextOffsets) -> None:
        """See `Lane.write`."""
        if self._has_failed:
            return
        try:
            for batch in outputs:
                self._writer.send(batch)
        except StepError as error:
            self._recover(error)
            self._has_failed = True
            return
        for partition, next_offset in next_offsets.items():
            done = (self._haul.partitions == partition.partition) & (self._haul.offsets < next_offset)
            done[self._delivered :] = False
            self._written |= done & self._unsettled

    def commit(self) -> Outcome:
        """See `Lane.commit`."""
        self.begin_commit()
        return self.await_commit().outcome

    def begin_commit(self) -> None:
        """See `Lane.begin_commit`. It has ended when this returns: what is unsettled keeps further hauls away."""
        if self._settled is not None:
            raise RequestError(
                f"a commit for {self._spec.topic} was begun before the outcome of the last one was asked for",
                remedy="call await_commit first",
            )
        begun = time.monotonic()
        outcome = self._settle()
        self._settled = Settled(outcome, timedelta(seconds=time.monotonic() - begun))

    def poll_commit(self) -> Settled | None:
        """See `Lane.poll_commit`."""
        settled, self._settled = self._settled, None
        return settled

    def await_commit(self) -> Settled:
        """See `Lane.await_commit`."""
        return self.poll_commit() or Settled(Outcome.COMMITTED)

    def _settle(self) -> Outcome:
        if self._has_failed:
            self._has_failed = False
            return Outcome.ABORTED
        if not self._written.any():
            return Outcome.COMMITTED
        try:
            self._writer.flush()
        except StepError as error:
            self._recover(error)
            return Outcome.ABORTED
        if not self._acknowledge(self._written, AcknowledgeType.ACCEPT):
            self._go_back()
            return Outcome.ABORTED
        self._stats = replace(self._stats, commits=self._stats.commits + 1)
        return Outcome.COMMITTED

    def abort(self) -> None:
        """See `Lane.abort`."""
        try:
            self._writer.abort()
        except StepError as error:
            self._recover(error)
        else:
            self._go_back()

    def pause(self) -> None:
        """See `Lane.pause`."""
        self._is_paused = True

    def resume(self) -> None:
        """See `Lane.resume`."""
        self._is_paused = False

    def stats(self) -> LaneStats:
        """See `Lane.stats`."""
        return self._stats

    def close(self) -> None:
        """See `Lane.close`."""
        if self._is_closed:
            return
        self._is_closed = True
        self._acknowledge(self._unsettled.copy(), AcknowledgeType.RELEASE)
        self._consumer.close()
        self._writer.close()

    def _fetch(self, timeout: timedelta) -> None:
        """Bring the next haul."""
        self._reported.clear()
        try:
            brought = list(self._consumer.poll(timeout.total_seconds()))
        except KafkaException as error:
            raise from_kafka(error, f"reading {self._spec.topic}") from error
        errors = [*self._reported, *filter(None, map(Message.error, brought))]
        if errors:
            brought = [message for message in brought if message.error() is None]
        self._messages = brought
        self._haul = to_batch(self._spec.topic, brought)
        self._unsettled = np.ones(len(brought), np.bool_)
        self._written = np.zeros(len(brought), np.bool_)
        self._delivered = 0
        if errors:
            self._judge(errors)

    def _judge(self, errors: Sequence[KafkaError]) -> None:
        for error in errors:
            judged = from_kafka(error, f"reading {self._spec.topic}")
            if isinstance(judged, RequestError) or is_final(error):
                raise as_fatal(judged)
            if not self._messages:
                raise TransientError(judged.message, remedy=judged.remedy)

    def _acknowledge(self, rows: NDArray[np.bool_], answer: AcknowledgeType) -> bool:
        """Tell the broker what became of these rows; whether it took the answer for all of them.

        A refused answer means that a lock has expired: the record is somebody else's by now.
        """
        deque(map(self._consumer.acknowledge, compress(self._messages, rows.tolist()), repeat(answer)), maxlen=0)
        self._unsettled &= ~rows
        self._written &= ~rows
        try:
            answers = self._consumer.commit_sync(PATIENCE)
        except KafkaException:
            return False
        return not any(answers.values())

    def _recover(self, error: StepError) -> None:
        if error.recovery is Recovery.FATAL:
            raise as_fatal(error.cause) from error
        self._writer.close()
        self._writer = AtLeastOnceWriter(self._kafka, self._spec)
        self._stats = replace(self._stats, producers_rebuilt=self._stats.producers_rebuilt + 1)
        self._go_back()

    def _go_back(self) -> None:
        """Give every unsettled record back to the broker."""
        self._acknowledge(self._unsettled.copy(), AcknowledgeType.RELEASE)
        self._delivered = len(self._haul)
        self._discard = Discard(everything=True)
        self._stats = replace(self._stats, aborts=self._stats.aborts + 1)
