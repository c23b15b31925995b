"""What the REST API can be asked, in values; HTTP is another module's matter."""

import ssl
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from threading import Lock
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

import httpx

from millrace.core.clock import Clock
from millrace.core.control.fleet import Slot
from millrace.core.errors import MillraceError, RequestError, TransientError
from millrace.kafka.admin import Admin
from millrace.kafka.control_writer import (
    DEPLOYMENTS_TOPIC,
    Change,
    ControlWriter,
    Decide,
    Outcome,
    Put,
    Tables,
)
from millrace.kafka.history import read_history, verify
from millrace.process.deployment import Deployment
from millrace.process.fleet import ASSIGNMENTS, HEARTBEATS, PROCESSES
from millrace.process.settings import KafkaSettings
from millrace_launcher.adapters.examining import Examiner
from millrace_launcher.adapters.view import FleetView
from millrace_launcher.logic.kinds import Kind
from millrace_launcher.logic.looking_back import REFUSALS, Search
from millrace_launcher.logic.plan import Plan, make_plan
from millrace_launcher.logic.ports import Runner
from millrace_launcher.logic.scaling import SCALED, Wanted, last_scaling, rescaled
from millrace_launcher.logic.standing import standing
from millrace_launcher.logic.status import SlotStatus, State, Status, explain, status_of

Document: TypeAlias = dict[str, Any]
"""A JSON object."""

_LOG_PATIENCE_SECS: Final = 5.0


class Desk:
    """Answers for one daemon. Shared by threads; close it, or use it in a `with`.

    What is asked is answered from memory; what is changed is changed in the log, with its history, and seen by every
    daemon. All methods raise RequestError for what does not exist or cannot be, and TransientError without a broker.

    Args:
        kafka: The cluster.
        view: The fleet.
        kinds: The kinds of process, by name.
        node: This node's name.
        runner: This node's processes.
        token: What other nodes want to be shown.
        trust: Whose certificates are trusted where other nodes speak TLS.
        clock: The system's.
        examiner: Knows what is wrong with deployments.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        view: FleetView,
        kinds: Mapping[str, Kind],
        *,
        node: str,
        runner: Runner,
        token: str,
        trust: ssl.SSLContext,
        clock: Clock,
        examiner: Examiner,
    ) -> None:
        self._kafka = kafka
        self._view = view
        self._kinds = kinds
        self._node = node
        self._runner = runner
        self._token = token
        self._trust = trust
        self._clock = clock
        self._examiner = examiner
        self._admin = Admin(kafka)
        self._writing = Lock()  # The writer knows no threads.
        with ExitStack() as stack:
            self._writer = stack.enter_context(
                ControlWriter(kafka, who=f"launcher/{node}", topics=(DEPLOYMENTS_TOPIC,))
            )
            self._stack = stack.pop_all()

    def nodes(self) -> list[Document]:
        """All nodes: what each has, what of it is given away, and whether it may be counted on."""
        fleet = self._view.fleet()
        found = []
        for name, heard in sorted(self._view.heartbeats().items()):
            here = [a for a in fleet.assignments.values() if a.node == name and not fleet.is_over(a)]
            found.append(
                {
                    **HEARTBEATS.write(heard.heartbeat),
                    "standing": standing(heard).value,
                    "silent_secs": round(heard.silence.total_seconds(), 1),
                    "processes": sorted(str(assignment.slot) for assignment in here),
                    "cores_used": sum(assignment.needs.cores for assignment in here),
                    "memory_used_bytes": sum(assignment.needs.memory_bytes for assignment in here),
                }
            )
        return found

    def deployments(self) -> list[Document]:
        """How every deployment fares, those that are being deleted included."""
        fleet, desired = self._view.fleet(), self._view.desired()
        names = {*desired.deployments, *desired.faults, *(slot.deployment for slot in fleet.assignments)} - {
            *desired.jobs
        }
        return [_status_document(status_of(name, fleet, desired)) for name in sorted(names)]

    def deployment(self, name: str) -> Document:
        """A deployment's document, and how it fares."""
        status = self._status(name)
        deployment = self._view.desired().deployments.get(name)
        return {**_status_document(status), "document": None if deployment is None else deployment.document()}

    def plan(self, name: str, document: Mapping[str, Any]) -> Document:
        """What `put` would do, and what is known not to work."""
        return asdict(self._plan(_read(name, document)))

    def put(self, name: str, document: Mapping[str, Any], *, who: str) -> Document:
        """Make this the document of the deployment; the same document again changes nothing."""
        wanted = _read(name, document)
        self._examiner.check_addresses(wanted)

        def decide(tables: Tables) -> Change[str]:
            if tables[DEPLOYMENTS_TOPIC].get(name) == wanted.document():
                return Change((), "unchanged")
            is_new = name not in tables[DEPLOYMENTS_TOPIC]
            return Change([Put(DEPLOYMENTS_TOPIC, name, wanted.document())], "created" if is_new else "changed")

        result = self._apply(name, "put deployment", decide, who=who)
        return {"deployment": name, "result": result}

    def scale(self, name: str, counts: Wanted, *, who: str) -> Document:
        """Change how many processes of some kinds there shall be: `{"scorers": 3}`.

        `{"auto": true}` lets the number of scorers follow the load, `{"auto": false}` ends that.
        """

        def decide(tables: Tables) -> Change[Document]:
            document = _existing(tables, name)
            wanted = _read(name, rescaled(document, counts)).document()
            puts = [Put(DEPLOYMENTS_TOPIC, name, wanted)] if wanted != document else []
            return Change(puts, {"scale": dict(counts)})

        result = self._apply(name, SCALED, decide, who=who)
        return {"deployment": name, **result, "remark": self._bound(name, counts)}

    def delete(self, name: str, *, who: str) -> Document:
        """Delete the deployment: its processes drain. Its topics stay."""

        def decide(tables: Tables) -> Change[str]:
            _existing(tables, name)
            return Change([Put(DEPLOYMENTS_TOPIC, name, None)], "deleted")

        return {"deployment": name, "result": self._apply(name, "delete deployment", decide, who=who)}

    def processes(self) -> list[Document]:
        """What all nodes that may be counted on say that they run."""
        fleet = self._view.fleet()
        return [
            {**PROCESSES.write(process), "name": str(process.slot)}
            for _, process in sorted(self._view.processes().items(), key=lambda item: item[0])
            if not fleet.is_lost(process.node)
        ]

    def logs(self, slot: Slot, *, lines: int) -> list[str]:
        """The last lines of a slot's processes, from whichever node they ran on."""
        assignment = self._view.assignments().get(slot)
        node = self._node if assignment is None or assignment.node is None else assignment.node
        if node == self._node:
            return list(self._runner.log(slot, lines=lines))
        heartbeat = self._view.heartbeat(node)
        if heartbeat is None:
            raise RequestError(f"the log of {slot} is on node {node}, which is gone", remedy="bring the node back")
        return self._ask(heartbeat.url, slot, lines)

    def history(self, search: Search) -> list[Document]:
        """Who changed what, and who was refused, oldest first."""
        return [record.to_json() for record in read_history(self._kafka) if search.includes(record.entry)]

    def refused(self, who: str, operation: str, target: Mapping[str, str], why: str) -> None:
        """See `millrace_launcher.adapters.rest.guard.RefusalLog`."""
        result = {"operation": operation, "target": dict(target), "error": why}
        with self._writing:
            self._writer.apply(REFUSALS, f"refused: {operation}", lambda _: Change((), result, is_noted=True), who=who)

    def verification(self) -> Document:
        """Whether the history is whole: no record edited, dropped or put in between."""
        records = list(read_history(self._kafka))
        broken = verify(records)
        return {"records": len(records), "whole": broken is None, "broken": None if broken is None else asdict(broken)}

    def why(self, name: str) -> list[str]:
        """Why a deployment is as it is: the cause in the first line, then what led to it, and who scaled it last."""
        status = self._status(name)
        if silence := self._examiner.silence():
            return explain(status, before=silence)
        deployment = self._view.desired().deployments.get(name)
        if status.state is not State.READY or deployment is None:
            lines = explain(status)
        else:
            lines = explain(status, findings=self._examiner.findings(deployment, since_ms=status.since_ms))
        return [*lines, *self._scaling(name)]

    def _scaling(self, name: str) -> list[str]:
        """When, by whom and why the number of a deployment's processes changed last, in one line; none if never."""
        subject = _subject(name)
        try:
            return last_scaling((record.entry for record in read_history(self._kafka, subject=subject)), name)
        except TransientError:
            return []  # the broker has just gone: what is asked for is the cause, not what happened before

    def close(self) -> None:
        """Release everything."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _status(self, name: str) -> Status:
        fleet, desired = self._view.fleet(), self._view.desired()
        status = status_of(name, fleet, desired)
        if not status.slots and name not in desired.deployments and name not in desired.faults:
            raise _unknown(name, desired.deployments)
        return status

    def _plan(self, wanted: Deployment) -> Plan:
        return make_plan(
            self._view.fleet(),
            self._kinds.values(),
            before=self._view.desired().deployments.get(wanted.deployment),
            after=wanted,
            faults=self._examiner.faults(wanted),
            now_ms=self._clock.wall_ms(),
        )

    def _bound(self, name: str, counts: Wanted) -> str:
        """What to know about a number of scorers: of a consumer group, no more than there are partitions have work."""
        deployment = self._view.desired().deployments.get(name)
        scorers = counts.get("scorers")
        if deployment is None or scorers is None or deployment.delivery == "shared":
            return ""
        try:
            partitions = self._admin.partition_counts([deployment.source.topic])[deployment.source.topic]
        except MillraceError:
            return ""
        if scorers <= partitions:
            return ""
        return f"bound {partitions}: {deployment.source.topic} has {partitions} partitions, more scorers are idle"

    def _apply(self, name: str, what: str, decide: Decide[Outcome], *, who: str) -> Outcome:
        with self._writing:
            applied = self._writer.apply(_subject(name), what, decide, who=who)
        if (reached := applied.next_offsets.get(DEPLOYMENTS_TOPIC)) is not None:
            self._view.wait_for_documents(reached)
        return applied.outcome

    def _ask(self, url: str, slot: Slot, lines: int) -> list[str]:
        try:
            answer = httpx.get(
                f"{url}/v1/processes/{slot}/logs",
                params={"lines": lines},
                headers={"Authorization": f"Bearer {self._token}"},
                timeout=_LOG_PATIENCE_SECS,
                verify=self._trust,
                trust_env=False,
            )
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise TransientError(f"the log of {slot} is on {url}, which does not give it: {error}") from error
        found: list[str] = answer.json()
        return found


def _read(name: str, document: Mapping[str, Any]) -> Deployment:
    wanted = Deployment.parse(document, subject=f"deployment {name}")
    if wanted.deployment != name:
        raise RequestError(f"the document is of {wanted.deployment!r}, not of {name!r}", remedy="use one name")
    return wanted


def _existing(tables: Tables, name: str) -> Document:
    document = tables[DEPLOYMENTS_TOPIC].get(name)
    if document is None:
        raise _unknown(name, tables[DEPLOYMENTS_TOPIC])
    return dict(document)


def _unknown(name: str, known: Mapping[str, object]) -> RequestError:
    return RequestError(
        f"there is no deployment {name!r}", remedy=f"deployments that exist: {', '.join(sorted(known)) or 'none'}"
    )


def _subject(name: str) -> str:
    return f"deployment/{name}"


def _status_document(status: Status) -> Document:
    return {
        "deployment": status.name,
        "state": status.state.value,
        "why": status.why,
        "ready": status.ready,
        "desired": status.desired,
        "slots": list(map(_slot_document, status.slots)),
    }


def _slot_document(found: SlotStatus) -> Document:
    return {
        "slot": str(found.slot),
        "state": found.state.value,
        "why": found.why,
        "assignment": None if found.assignment is None else ASSIGNMENTS.write(found.assignment),
        "process": None if found.process is None else PROCESSES.write(found.process),
    }
