"""The fleet as the log tells it, kept up to date in the background."""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from threading import Lock
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

import structlog

from millrace.core.control.fleet import Assignment, Fleet, Heartbeat, Node, Process, Slot
from millrace.core.errors import RequestError
from millrace.core.records import NextOffset
from millrace.kafka.admin import Admin
from millrace.kafka.control import Changes, ControlView
from millrace.kafka.control_writer import CONTROL_TOPICS, DEPLOYMENTS_TOPIC, JOBS_TOPIC
from millrace.kafka.fleet import ASSIGNMENTS_TOPIC, FLEET_TOPICS, NODES_TOPIC, PROCESSES_TOPIC
from millrace.process.fleet import ASSIGNMENTS, HEARTBEATS, PROCESSES, FleetRecord
from millrace.process.settings import KafkaSettings
from millrace_launcher.logic.desired import Desired, read_desired
from millrace_launcher.logic.kinds import Kind
from millrace_launcher.logic.standing import Heard, standing

Value = TypeVar("Value")

log = structlog.get_logger()

_LIMIT: Final = timedelta(seconds=20)


@dataclass(frozen=True, slots=True)
class _Entry(Generic[Value]):
    """The latest of a key: its value, None where it was deleted."""

    value: Value | None
    heard: float
    is_live: bool


class _Table(Generic[Value]):
    """The values of one topic. What cannot be read is left out and said once."""

    def __init__(self, kafka: KafkaSettings, topic: str, record: FleetRecord[Value]) -> None:
        self._record = record
        self._lock = Lock()
        self._entries: dict[str, _Entry[Value]] = {}
        self.view = ControlView(kafka, topic)

    def follow(self) -> None:
        """Read everything, and then on in the background."""
        self.view.follow(lambda changes: self._put(changes, is_live=True))
        self._put(self.view.table, is_live=False)

    def get(self, key: str) -> _Entry[Value] | None:
        with self._lock:
            return self._entries.get(key)

    def entries(self) -> Mapping[str, _Entry[Value]]:
        with self._lock:
            return {key: entry for key, entry in self._entries.items() if entry.value is not None}

    def values(self) -> list[Value]:
        with self._lock:
            return [entry.value for entry in self._entries.values() if entry.value is not None]

    def _put(self, changes: Changes | Mapping[str, Any], *, is_live: bool) -> None:
        now = time.monotonic()
        for key, document in changes.items():
            entry = _Entry(self._read(key, document), now, is_live)
            with self._lock:
                # What was heard live is newer than what was read from the past.
                if is_live or key not in self._entries:
                    self._entries[key] = entry

    def _read(self, key: str, document: Mapping[str, Any] | None) -> Value | None:
        if document is None:
            return None
        try:
            return self._record.read(document, subject=f"{self.view.topic}, {key}")
        except RequestError as error:
            log.warning(error.message, remedy=error.remedy or None)
            return None


class FleetView:
    """What all daemons know alike: nodes, deployments, decisions, processes. Shared by threads; close it.

    Args:
        kafka: The cluster; topics that do not exist are made.
        kinds: The kinds of process that deployments may ask for.

    Raises:
        RequestError: A topic exists with other settings.
        TransientError: No broker answers.
        FatalError: The broker refuses this client.
    """

    def __init__(self, kafka: KafkaSettings, kinds: Mapping[str, Kind]) -> None:
        self._admin = Admin(kafka)
        self._admin.ensure_topics([*CONTROL_TOPICS, *FLEET_TOPICS])
        self._kinds = kinds
        self._desired: tuple[object, Desired] = (None, Desired({}, (), {}))
        with ExitStack() as stack:
            self._nodes = _Table(kafka, NODES_TOPIC, HEARTBEATS)
            stack.callback(self._nodes.view.close)
            self._assignments = _Table(kafka, ASSIGNMENTS_TOPIC, ASSIGNMENTS)
            stack.callback(self._assignments.view.close)
            self._processes = _Table(kafka, PROCESSES_TOPIC, PROCESSES)
            stack.callback(self._processes.view.close)
            self._documents = stack.enter_context(ControlView(kafka, DEPLOYMENTS_TOPIC))
            for follow in (self._nodes.follow, self._assignments.follow, self._processes.follow):
                follow()
            self._documents.follow(_nothing)
            self._jobs = stack.enter_context(ControlView(kafka, JOBS_TOPIC))
            self._jobs.follow(_nothing)
            self._stack = stack.pop_all()

    def heartbeats(self) -> Mapping[str, Heard]:
        """What each node said last, and how long ago that was heard."""
        now = time.monotonic()
        return {
            name: Heard(entry.value, timedelta(seconds=now - entry.heard), entry.is_live)
            for name, entry in self._nodes.entries().items()
            if entry.value is not None
        }

    def nodes(self) -> Mapping[str, Node]:
        """The nodes as they may be counted on now."""
        return {
            name: Node(name, standing(heard), heard.heartbeat.inventory) for name, heard in self.heartbeats().items()
        }

    def heartbeat(self, node: str) -> Heartbeat | None:
        """What a node said last."""
        entry = self._nodes.get(node)
        return None if entry is None else entry.value

    def assignments(self) -> Mapping[Slot, Assignment]:
        """What was decided about each slot."""
        return {assignment.slot: assignment for assignment in self._assignments.values()}

    def processes(self) -> Mapping[tuple[Slot, str], Process]:
        """What the nodes say that they run."""
        return {process.key: process for process in self._processes.values()}

    def desired(self) -> Desired:
        """What the deployments and the jobs ask for."""
        documents = self._documents.table, self._jobs.table
        known, desired = self._desired
        if documents != known:
            desired = read_desired(documents[0], self._kinds.values(), documents[1])
            self._desired = (documents, desired)
        return desired

    def fleet(self) -> Fleet:
        """Everything that a decision rests on."""
        desired = self.desired()
        return Fleet(desired.workloads, self.assignments(), self.processes(), self.nodes(), frozenset(desired.faults))

    def catch_up(self) -> None:
        """Read all decisions that anybody can have made by now, those about to become readable included.

        Raises:
            TransientError: They do not become readable.
        """
        [end] = self._admin.high_watermarks([ASSIGNMENTS_TOPIC])[ASSIGNMENTS_TOPIC].values()
        self._assignments.view.wait_for(end - 1, limit=_LIMIT)

    def wait_for_decisions(self, next_offset: NextOffset) -> None:
        """Read on until one's own decisions are seen; raises as `catch_up`."""
        self._assignments.view.wait_for(next_offset - 1, limit=_LIMIT)

    def wait_for_documents(self, next_offset: NextOffset) -> None:
        """Read on until one's own change of the deployments is seen; raises as `catch_up`."""
        self._documents.wait_for(next_offset - 1, limit=_LIMIT)

    def wait_for_jobs(self, next_offset: NextOffset) -> None:
        """Read on until one's own change of the jobs is seen; raises as `catch_up`."""
        self._jobs.wait_for(next_offset - 1, limit=_LIMIT)

    def close(self) -> None:
        """Stop following."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _nothing(_: Changes) -> None:
    """The table itself is all that is looked at."""
