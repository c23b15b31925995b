"""Whatever comes when, and wherever the trainer is killed: every request is answered once, one at a time."""

from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from loop_records import accepted, completed, promoted, rejected, requested

from millrace.core.audit.decisions import RetrainReason
from millrace.core.promotion import Verdict
from millrace.process.retraining import ENDS, Accepted, Blocker, LoopAnswer, Refused, Rejected, Requested
from millrace_trainer.logic.ledger import (
    Accept,
    Action,
    Conclude,
    IntakePolicy,
    Ledger,
    Reject,
    Train,
    next_action,
)


class Happening(Enum):
    """What may happen next."""

    REQUEST = "request"
    BY_HAND = "by hand"
    REPEATED = "repeated"
    STEP = "step"
    REQUEST_IN_STEP = "request in step"
    KILL = "kill"


@dataclass
class World:
    """A log, and a trainer that remembers what it read."""

    verdicts: list[Verdict]
    log: list[Requested | LoopAnswer] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)
    read: int = 0
    days: float = 0.0

    def ask(self, reason: RetrainReason = RetrainReason.PERFORMANCE) -> None:
        self.days += 0.4
        self.log.append(requested(f"loop-{len(self.log)}", days=self.days, reason=reason))

    def happen(self, what: Happening) -> None:
        match what:
            case Happening.REQUEST:
                self.ask()
            case Happening.BY_HAND:
                self.ask(RetrainReason.MANUAL)
            case Happening.REPEATED:
                self.log += [record for record in self.log if isinstance(record, Requested)][:1]
            case Happening.STEP:
                self.step()
            case Happening.REQUEST_IN_STEP:
                self.step(meanwhile=True)
            case Happening.KILL:
                self.ledger, self.read = Ledger(), 0

    def step(self, *, meanwhile: bool = False) -> bool:
        """One turn of the trainer; whether there was anything to do."""
        self.ledger = self.ledger.after(list(enumerate(self.log))[self.read :])
        self.read = len(self.log)
        action = next_action(self.ledger, IntakePolicy(), champion=1)
        if meanwhile:
            self.ask()
        if action is not None:
            self.log.append(self.answer(action))
        return action is not None

    def answer(self, action: Action) -> LoopAnswer:
        match action:
            case Reject(loop, blocker, why):
                return rejected(loop.request.loop_id, blocker, why)
            case Accept(loop):
                return accepted(loop.request.loop_id)
            case Train(loop, _):
                return completed(loop.request.loop_id, self.verdicts[len(self.log) % len(self.verdicts)])
            case Conclude(done):
                if done.verdict is Verdict.PROMOTE:
                    return promoted(done.loop_id)
                return Refused(loop_id=done.loop_id, model="weather", version=1, at=done.at, why="worse")


@given(
    st.lists(st.sampled_from(Happening), max_size=60),
    st.lists(st.sampled_from([Verdict.PROMOTE, Verdict.REFUSE]), min_size=1, max_size=5),
)
def test_every_request_is_answered_once_and_one_at_a_time(happenings: list[Happening], verdicts: list[Verdict]) -> None:
    world = World(verdicts)
    for what in happenings:
        world.happen(what)
    while world.step():
        pass
    asked = {record.loop_id for record in world.log if isinstance(record, Requested)}
    ended = [record.loop_id for record in world.log if isinstance(record, ENDS)]
    assert sorted(ended) == sorted(asked)
    at_work: str | None = None
    for record in world.log:
        if isinstance(record, Accepted):
            assert at_work is None
            at_work = record.loop_id
        elif isinstance(record, ENDS) and not isinstance(record, Rejected):
            assert at_work == record.loop_id
            at_work = None


@given(st.lists(st.sampled_from([Happening.REQUEST, Happening.STEP, Happening.REQUEST_IN_STEP]), max_size=60))
def test_requests_that_are_taken_up_keep_their_distance_in_event_time(happenings: list[Happening]) -> None:
    world = World([Verdict.REFUSE])
    for what in happenings:
        world.happen(what)
    while world.step():
        pass
    times = {record.loop_id: record.not_before for record in world.log if isinstance(record, Requested)}
    taken = sorted(times[record.loop_id] for record in world.log if isinstance(record, Accepted))
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(taken)]
    assert all(gap >= 86_400 - 1 for gap in gaps)


def test_the_world_sees_a_request_that_comes_in_mid_training() -> None:
    world = World([Verdict.PROMOTE])
    for what in (Happening.REQUEST, Happening.STEP, Happening.REQUEST_IN_STEP, Happening.STEP, Happening.STEP):
        world.happen(what)
    assert [record.blocker for record in world.log if isinstance(record, Rejected)] == [Blocker.OPEN_REQUEST]
