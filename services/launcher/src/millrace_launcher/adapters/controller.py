"""The controller: one daemon of all, elected by the log, decides which process runs where."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import structlog

from millrace.core.clock import Clock
from millrace.core.control.fleet import Assignment, Order, Slot
from millrace.core.control.reconcile import Decisions, reconcile
from millrace.core.control.restarts import RestartPolicy
from millrace.core.errors import TransientError
from millrace.kafka.control_writer import Put
from millrace.kafka.election import Election
from millrace.kafka.fleet import ASSIGNMENTS_TOPIC
from millrace.process.fleet import ASSIGNMENTS
from millrace_launcher.adapters.view import FleetView

log = structlog.get_logger()

OFFICE: Final = "millrace-controller"
"""The group of the candidates, and the identity under which the elected one writes."""

_TURN: Final = timedelta(milliseconds=100)


@dataclass(slots=True)
class Controller:
    """A candidate, and while it is elected the one that decides. Its `turn` is called by one thread.

    Attributes:
        election: Its candidacy.
        view: What decisions rest on.
        policy: When a process that crashed may start again.
        clock: The system's.
        is_elected: Whether it decides, as far as it knows.
    """

    election: Election
    view: FleetView
    policy: RestartPolicy
    clock: Clock
    is_elected: bool = False
    _term: int = field(default=0, init=False)

    def turn(self) -> None:
        """Stay a candidate; where elected, decide what there is to decide.

        Raises:
            FatalError: The broker refuses this client.
        """
        try:
            self._note(is_elected=self.election.turn(_TURN))
            if self.is_elected:
                self._decide()
        except TransientError as error:
            log.warning("the controller could not decide", why=error.message)

    def _note(self, *, is_elected: bool) -> None:
        if is_elected != self.is_elected:
            log.info("elected as controller" if is_elected else "another controller is elected")
        self.is_elected = is_elected

    def _decide(self) -> None:
        if self.election.term != self._term:
            self.view.catch_up()
            self._term = self.election.term
        decisions = reconcile(self.view.fleet(), self.clock.wall_ms(), self.policy)
        if not decisions:
            return
        reached = self.election.decide([_put(slot, assignment) for slot, assignment in decisions.items()])
        if reached is None:
            log.warning("decisions were refused: another controller is elected, or their outcome is not known")
            return
        # A decision that is not seen yet would be made again.
        self.view.wait_for_decisions(reached)
        _say(decisions)


def _put(slot: Slot, assignment: Assignment | None) -> Put:
    return Put(ASSIGNMENTS_TOPIC, str(slot), None if assignment is None else ASSIGNMENTS.write(assignment))


def _say(decisions: Decisions) -> None:
    for slot, assignment in decisions.items():
        if assignment is None:
            log.info("forgotten", slot=str(slot))
            continue
        logged = log.warning if assignment.order is Order.FAILED else log.info
        logged(f"decided: {assignment.order}", slot=str(slot), node=assignment.node, why=assignment.why)
