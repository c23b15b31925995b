"""Writing what a node says: heartbeats, and what it runs."""

from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType
from typing import Final, Self

import numpy as np
import orjson

from millrace.core.control.fleet import Heartbeat, Process, Slot
from millrace.core.records import OutputBatch
from millrace.kafka.fleet import NODES_TOPIC, PROCESSES_TOPIC
from millrace.kafka.writing import Writer, at_writing
from millrace.process.fleet import HEARTBEATS, PROCESSES, process_key
from millrace.process.settings import KafkaSettings

_PATIENCE: Final = timedelta(seconds=4)
"""Shorter than the lease: a record that took longer says nothing any more."""


class Reporter:
    """Writes for one node, at least once. Not thread-safe; close it, or use it in a `with`.

    Every method blocks until the broker has acknowledged, at most four seconds, and raises TransientError when it does
    not; then say it again.

    Args:
        kafka: The cluster.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._writer: Writer | None = None

    def beat(self, heartbeat: Heartbeat) -> None:
        """Say that the node is there."""
        self._write(NODES_TOPIC, {heartbeat.node: HEARTBEATS.write(heartbeat)})

    def report(self, node: str, processes: Mapping[Slot, Process | None]) -> None:
        """Say what became of processes; None for one that nobody needs to know of any more."""
        self._write(
            PROCESSES_TOPIC,
            {
                process_key(slot, node): None if process is None else PROCESSES.write(process)
                for slot, process in processes.items()
            },
        )

    def close(self) -> None:
        """Release everything. Twice is as good as once."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, topic: str, documents: Mapping[str, Mapping[str, object] | None]) -> None:
        if not documents:
            return
        if self._writer is None:
            self._writer = Writer(self._kafka, delivery_timeout=_PATIENCE)
        count = len(documents)
        values = [None if document is None else orjson.dumps(document) for document in documents.values()]
        keys = [key.encode() for key in documents]
        try:
            self._writer.write(OutputBatch(topic, np.zeros(count, np.int32), at_writing(count), keys, values))
            self._writer.flush()
        except BaseException:
            self.close()  # What is in its queue is old by the next attempt.
            raise
