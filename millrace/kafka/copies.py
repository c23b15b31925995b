"""How far the source of each copy is read: in one transaction with records, where it goes into a topic."""

import json
from collections.abc import Mapping
from typing import Any, Final

from millrace.core.errors import FatalError
from millrace.core.records import OutputBatch
from millrace.kafka.admin import TopicSpec
from millrace.kafka.appending import AppendLog
from millrace.process.settings import KafkaSettings

COPIES_TOPIC: Final = TopicSpec("millrace.copies", 1, {"cleanup.policy": "compact"})
"""The newest state of each copy, as it is created where it does not exist."""

_TYPE: Final = "copy.v1"


def read_copy(value: bytes) -> Mapping[str, Any]:
    """The state in a record of `millrace.copies`.

    Raises:
        FatalError: It is none that this version writes.
    """
    document = json.loads(value)
    if document.get("type") != _TYPE or not isinstance(document.get("state"), dict):
        raise FatalError(f"a record of {COPIES_TOPIC.name!r} is no {_TYPE}", remedy="use the version that wrote it")
    state: Mapping[str, Any] = document["state"]
    return state


class CopyLog:
    """Writes what one copy brings. A second one of the same name fences the first. Not thread-safe.

    Args:
        kafka: The cluster.
        name: Of the copy.

    Raises:
        TransientError: No broker answers.
        FatalError: The broker refuses this client.
    """

    def __init__(self, kafka: KafkaSettings, name: str) -> None:
        self._log = AppendLog(kafka, COPIES_TOPIC, key=name, appender=f"millrace-copy-{name}")

    def state(self) -> Mapping[str, Any] | None:
        """How far the source is read; None where nothing was written. Raises as `AppendLog.read_all`."""
        entries = [entry.value for entry in self._log.read_all() if entry.value is not None]
        return read_copy(entries[-1]) if entries else None

    def write(self, records: OutputBatch | None, state: Mapping[str, Any]) -> None:
        """Write the state and the records, if there are any, both or neither. Raises as `AppendLog.append`."""
        where = {} if records is None else {"topic": records.topic}
        document = {"type": _TYPE, **where, "state": state}
        self._log.append([json.dumps(document, default=str).encode()], beside=records)

    def close(self) -> None:
        """Let go of the connections; what is not committed is forgotten."""
        self._log.close()
