"""What a node does about its slots, again and again."""

import os
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from millrace.core.clock import Clock
from millrace.core.control.fleet import Assignment, Process, ProcessState, Slot
from millrace.core.control.tending import Decline, Drain, Forget, Start, tend
from millrace.core.errors import RequestError, TransientError
from millrace.process.settings import KafkaSettings, Settings
from millrace_launcher.adapters.inventory import fingerprint, installed_versions
from millrace_launcher.adapters.local import free_port
from millrace_launcher.adapters.local_store import LocalStore
from millrace_launcher.adapters.probing import Prober, Readiness
from millrace_launcher.adapters.reporting import Reporter
from millrace_launcher.adapters.view import FleetView
from millrace_launcher.logic.kinds import READY, Kind
from millrace_launcher.logic.liveness import Vigil
from millrace_launcher.logic.ports import HEALTH_PORT, Launch, Runner, Running
from millrace_launcher.logic.reporting import describe
from millrace_launcher.logic.stores import needs_online_store
from millrace_launcher.settings import PREFIX

log = structlog.get_logger()

_AT_WORK: Final = Readiness(is_ready=True, why="at work")
"""What is known of a process that serves nothing."""


@dataclass(slots=True)
class Agent:
    """Starts, drains and reports the processes of one node. Its `turn` is called by one thread.

    Attributes:
        node: The node's name.
        runner: Runs the processes.
        view: What was decided.
        reporter: Tells the others.
        prober: Asks the processes.
        kinds: The kinds of process, by name.
        settings: Of this daemon; its processes get the same environment.
        kafka: The cluster.
        clock: The system's.
        vigil: Knows when processes were last heard.
        store: The online store of this node.
    """

    node: str
    runner: Runner
    view: FleetView
    reporter: Reporter
    prober: Prober
    kinds: Mapping[str, Kind]
    settings: Settings
    kafka: KafkaSettings
    clock: Clock
    vigil: Vigil
    store: LocalStore
    _environment: str = field(default_factory=lambda: fingerprint(installed_versions()), init=False)
    _told: dict[Slot, Process] = field(default_factory=dict)
    _declined: dict[Slot, Process] = field(default_factory=dict)

    @property
    def told(self) -> Collection[Process]:
        """What was told about the slots of this node."""
        return self._told.values()

    def adopt(self) -> None:
        """Take over what an earlier daemon of the node ran, and say what is over. Before the first `turn`."""
        self._told = {process.slot: process for process in self.view.processes().values() if process.node == self.node}
        known = {running.slot for running in self.runner.processes()}
        for slot, process in self._told.items():
            if slot not in known:
                ended = replace(process, state=ProcessState.ENDED, asked=True, why="nothing is known of it here")
                self._declined[slot] = process if process.state is ProcessState.ENDED else ended
        adopted = [str(running.slot) for running in self.runner.processes() if not running.has_ended]
        if adopted:
            log.info("processes adopted", slots=adopted)

    def turn(self) -> None:
        """Look, say what changed, and act on what was decided.

        Raises:
            FatalError: The node's folder cannot be used.
        """
        here = self._look()
        self._report(here)
        assignments, deployments = self.view.assignments(), self.view.desired().deployments
        self.store.tend(is_needed=needs_online_store(self.node, assignments, deployments))
        for step in tend(self.node, assignments, here):
            match step:
                case Start(assignment):
                    self._start(assignment)
                case Decline(assignment):
                    self._decline(assignment, "withdrawn before it began", asked=True)
                case Drain(slot, launch):
                    log.info("draining", slot=str(slot), launch=launch)
                    self.runner.drain(slot)
                case Forget(slot):
                    self.runner.forget(slot)
                    self._declined.pop(slot, None)

    def drain_everything(self) -> bool:
        """Ask all processes to end, and say so; whether all have ended."""
        running = [found for found in self.runner.processes() if not found.has_ended]
        for found in running:
            if not found.is_draining:
                self.runner.drain(found.slot)
        self._report(self._look())
        return not running

    def kill_everything(self) -> None:
        """End all processes at once."""
        for found in self.runner.processes():
            if not found.has_ended:
                self.runner.kill(found.slot)

    def _look(self) -> dict[Slot, Process]:
        """The latest process of each slot of this node, as it is now."""
        found = self.runner.processes()
        asked = (running for running in found if not running.has_ended and not running.is_draining)
        answers = self.prober.ask(running for running in asked if not running.waits)
        self._end_what_hangs(found, answers)
        now_ms = self.clock.wall_ms()
        here = dict(self._declined)
        for running in found:
            answer = answers.get(running.slot) or _unasked(running)
            declined = self._declined.get(running.slot)
            if declined is None or declined.launch < running.launch:
                here[running.slot] = describe(
                    self.node,
                    running,
                    self._told.get(running.slot),
                    is_ready=answer.is_ready,
                    said=answer.why,
                    now_ms=now_ms,
                )
        return here

    def _end_what_hangs(self, found: Iterable[Running], answers: Mapping[Slot, Readiness]) -> None:
        """Kill what does not live any more, so that it is started again."""
        for running in found:
            answer, kind = answers.get(running.slot), self.kinds.get(running.slot.kind)
            if answer is None or kind is None or kind.ready != READY:
                continue
            slot, launch, now = running.slot, running.launch, self.clock.monotonic()
            if answer.is_ready:
                self.vigil.lives(slot, launch, now)
            elif why := self.vigil.hangs(slot, launch, self.prober.life(running), now):
                log.warning("killing a process that hangs", slot=str(slot), pid=running.pid, why=why)
                self.runner.kill(slot, why=why)

    def _start(self, assignment: Assignment) -> None:
        launch = self._launch(assignment)
        if launch is None:
            return  # Its document comes by another topic, a moment later.
        log.info("starting", slot=str(assignment.slot), launch=launch.launch, command=" ".join(launch.command))
        self._declined.pop(assignment.slot, None)
        try:
            self.runner.start(launch)
        except RequestError as error:
            log.warning(error.message, remedy=error.remedy or None)
            self._decline(assignment, str(error), asked=False)

    def _launch(self, assignment: Assignment) -> Launch | None:
        slot, desired = assignment.slot, self.view.desired()
        kind = self.kinds[slot.kind]  # The controller knows from the inventory that it is there.
        job, deployment = desired.jobs.get(slot.deployment), desired.deployments.get(slot.deployment)
        if job is not None and job.slot == slot:
            command, variables, folder = kind.work_on(job, python=sys.executable), job.variables, job.folder
        elif deployment is not None:
            command, variables, folder = kind.work_for(deployment, slot.number, python=sys.executable), {}, ""
        else:
            return None
        return Launch(
            slot=slot,
            launch=assignment.launch,
            command=command,
            environment={**self._environment_of(assignment, kind), **variables},
            cores=assignment.needs.cores,
            memory_bytes=assignment.needs.memory_bytes,
            folder=folder,
        )

    def _environment_of(self, assignment: Assignment, kind: Kind) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(PREFIX)},
            "MILLRACE_KAFKA__BOOTSTRAP": self.kafka.bootstrap,
            "MILLRACE_HOME": str(self.settings.home),
            "MILLRACE_HEALTH__HOST": "127.0.0.1",
            **({HEALTH_PORT: str(free_port())} if kind.ready else {}),
            "MILLRACE_LAUNCH__NODE": self.node,
            "MILLRACE_LAUNCH__SLOT": str(assignment.slot),
            "MILLRACE_LAUNCH__NUMBER": str(assignment.launch),
            "MILLRACE_LAUNCH__ENVIRONMENT": self._environment,
            # Without GPUs of its own a process must not take another one's.
            "CUDA_VISIBLE_DEVICES": ",".join(map(str, assignment.gpus)),
        }

    def _decline(self, assignment: Assignment, why: str, *, asked: bool) -> None:
        now_ms = self.clock.wall_ms()
        self._declined[assignment.slot] = Process(
            assignment.slot,
            self.node,
            assignment.launch,
            ProcessState.ENDED,
            started_ms=now_ms,
            ended_ms=now_ms,
            asked=asked,
            why=why,
        )

    def _report(self, here: Mapping[Slot, Process]) -> None:
        changed: dict[Slot, Process | None] = {
            slot: process for slot, process in here.items() if self._told.get(slot) != process
        }
        changed.update((slot, None) for slot in self._told if slot not in here)
        try:
            self.reporter.report(self.node, changed)
        except TransientError as error:
            log.warning("what runs here could not be told", why=error.message)
            return
        for slot, process in changed.items():
            if process is not None:
                _say(process, self._told.get(slot))
        self._told = dict(here)


def _unasked(running: Running) -> Readiness:
    """What is known of a process that was not asked."""
    if running.waits or running.url:
        return Readiness(is_ready=False, why=running.waits or "starting")
    return _AT_WORK


def _say(process: Process, before: Process | None) -> None:
    if before is not None and (before.launch, before.state) == (process.launch, process.state):
        return
    logged = log.warning if process.state is ProcessState.ENDED and not process.asked else log.info
    logged(process.state.value, slot=str(process.slot), pid=process.pid, why=process.why)
