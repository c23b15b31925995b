"""Launching jobs, and what becomes of them."""

import secrets
from collections.abc import Callable, Mapping
from functools import partial
from threading import Lock
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

from millrace.core.clock import Clock
from millrace.core.control.jobs import Job, check_job
from millrace.core.errors import RequestError
from millrace.kafka.control_writer import JOBS_TOPIC, Change, ControlWriter, Put, Tables
from millrace.process.fleet import PROCESSES
from millrace.process.jobs import JOBS
from millrace.process.settings import KafkaSettings
from millrace_launcher.adapters.view import FleetView
from millrace_launcher.logic.kinds import Kind
from millrace_launcher.logic.status import status_of

Document: TypeAlias = dict[str, Any]

_SUFFIX: Final = partial(secrets.token_hex, 3)


class JobDesk:
    """Answers about jobs. Shared by threads; close it, or use it in a `with`.

    All methods raise RequestError for what does not exist or cannot be, and TransientError without a broker.

    Args:
        kafka: The cluster.
        view: Sees the changes.
        kinds: The kinds of process, by name.
        clock: The system's.
        suffix: Makes names of jobs different.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        view: FleetView,
        kinds: Mapping[str, Kind],
        clock: Clock,
        *,
        suffix: Callable[[], str] = _SUFFIX,
    ) -> None:
        self._view = view
        self._kinds = kinds
        self._clock = clock
        self._suffix = suffix
        self._writing = Lock()  # Of the writer, which knows no threads.
        self._writer = ControlWriter(kafka, who="launcher", topics=(JOBS_TOPIC,))

    def jobs(self) -> list[Document]:
        """All jobs, those that have ended included."""
        return [self._described(job) for _, job in sorted(self._view.desired().jobs.items())]

    def job(self, name: str) -> Document:
        """One job, and how it fares."""
        jobs = self._view.desired().jobs
        if name not in jobs:
            raise _unknown(name, jobs)
        return self._described(jobs[name])

    def submit(self, document: Mapping[str, Any], *, who: str) -> Document:
        """Launch a process. Without a name it gets one; a name that a job has already is refused."""
        kind = str(document.get("kind"))
        if kind not in self._kinds:
            raise RequestError(
                f"{kind!r} is no kind of process", remedy=f"known kinds: {', '.join(sorted(self._kinds))}"
            )
        named = {**document, "name": document.get("name") or f"{kind}-{self._suffix()}"}
        job = JOBS.read(named, subject=f"job {named['name']}").at(self._clock.wall_ms())
        check_job(job)
        if job.name in self._view.desired().deployments:
            raise RequestError(f"{job.name} is a deployment", remedy="choose another name for the job")

        def decide(tables: Tables) -> Change[str]:
            if job.name in tables[JOBS_TOPIC]:
                raise RequestError(f"there is a job {job.name} already", remedy="cancel it, or choose another name")
            return Change([Put(JOBS_TOPIC, job.name, JOBS.write(job))], "submitted")

        result = self._apply(job.name, "submit job", decide, who=who)
        return {"job": job.name, "slot": str(job.slot), "result": result}

    def cancel(self, name: str, *, who: str) -> Document:
        """End a job where it runs, and forget it; the history keeps it."""

        def decide(tables: Tables) -> Change[str]:
            if name not in tables[JOBS_TOPIC]:
                raise _unknown(name, tables[JOBS_TOPIC])
            return Change([Put(JOBS_TOPIC, name, None)], "cancelled")

        return {"job": name, "result": self._apply(name, "cancel job", decide, who=who)}

    def close(self) -> None:
        """Release everything."""
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _described(self, job: Job) -> Document:
        status = status_of(job.name, self._view.fleet(), self._view.desired())
        found = next((each for each in status.slots if each.slot == job.slot), None)
        process = None if found is None or found.process is None else PROCESSES.write(found.process)
        return {
            "job": job.name,
            "kind": job.kind,
            "slot": str(job.slot),
            "state": status.state.value,
            "why": status.why if found is None else found.why,
            "arguments": list(job.arguments),
            "submitted_ms": job.submitted_ms,
            "process": process,
        }

    def _apply(self, name: str, what: str, decide: Callable[[Tables], Change[str]], *, who: str) -> str:
        with self._writing:
            applied = self._writer.apply(f"job/{name}", what, decide, who=who)
        if (reached := applied.next_offsets.get(JOBS_TOPIC)) is not None:
            self._view.wait_for_jobs(reached)
        return applied.outcome


def _unknown(name: str, known: Mapping[str, object]) -> RequestError:
    return RequestError(f"there is no job {name!r}", remedy=f"jobs that exist: {', '.join(sorted(known)) or 'none'}")
