"""What the log says about a model's loops, and what to do next: pure functions of the records."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Self, TypeAlias

from millrace.core.audit.decisions import RetrainReason
from millrace.core.errors import RequestError
from millrace.process.retraining import ENDS, Accepted, Blocker, Completed, LoopAnswer, Requested

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Loop:
    """One request, and what became of it so far.

    Attributes:
        request: The request.
        offset: Where it lies.
        accepted: The trainer took it up.
        completed: There is a candidate, and a verdict on it.
        ended_at: Offset of the record that ended the loop; None while it is open.
    """

    request: Requested
    offset: int
    accepted: Accepted | None = None
    completed: Completed | None = None
    ended_at: int | None = None

    @property
    def is_at_work(self) -> bool:
        """Whether it was taken up and has no end yet."""
        return self.accepted is not None and self.ended_at is None

    @property
    def is_waiting(self) -> bool:
        """Whether nothing has been said to it yet."""
        return self.accepted is None and self.ended_at is None


@dataclass(frozen=True, slots=True)
class Ledger:
    """All loops of one model, oldest request first. A record that is read twice changes nothing."""

    loops: Mapping[str, Loop] = field(default_factory=dict)

    @property
    def is_settled(self) -> bool:
        """Whether every request has its last answer."""
        return all(loop.ended_at is not None for loop in self.loops.values())

    def after(self, records: Iterable[tuple[int, Requested | LoopAnswer]]) -> Self:
        """The ledger with further records, given with their offsets, in the order of the log."""
        loops = dict(self.loops)
        for offset, record in records:
            if isinstance(record, Requested):
                loops.setdefault(record.loop_id, Loop(record, offset))
            elif record.loop_id in loops:  # the request of any other is no longer kept
                loops[record.loop_id] = _with_answer(loops[record.loop_id], offset, record)
        return replace(self, loops=loops)


def _with_answer(loop: Loop, offset: int, answer: LoopAnswer) -> Loop:
    if isinstance(answer, ENDS):
        return loop if loop.ended_at is not None else replace(loop, ended_at=offset)
    if isinstance(answer, Accepted):
        return replace(loop, accepted=loop.accepted or answer)
    if isinstance(answer, Completed):
        return replace(loop, completed=loop.completed or answer)
    return loop  # the auditor's note is not the trainer's business


@dataclass(frozen=True, slots=True)
class IntakePolicy:
    """Which requests are taken up. Times are event time: those that requests name.

    Attributes:
        cooldown: Least time between two requests that are taken up.
        max_per_day: The most requests that are taken up within 24 hours.
    """

    cooldown: timedelta = timedelta(days=1)
    max_per_day: int = 3

    def __post_init__(self) -> None:
        if self.cooldown < timedelta() or self.max_per_day < 1:
            raise RequestError(
                "the trainer would never take up a request",
                remedy="give a cooldown of zero or more and at least one request a day",
            )


@dataclass(frozen=True, slots=True)
class Reject:
    """LoopAnswer that the request is not taken up."""

    loop: Loop
    blocker: Blocker
    why: str


@dataclass(frozen=True, slots=True)
class Accept:
    """Take the request up."""

    loop: Loop


@dataclass(frozen=True, slots=True)
class Train:
    """Make a candidate; also again, where an earlier trainer was stopped at it."""

    loop: Loop
    accepted: Accepted


@dataclass(frozen=True, slots=True)
class Conclude:
    """Do what the verdict says; also again, which changes nothing."""

    completed: Completed


Action: TypeAlias = Reject | Accept | Train | Conclude


def next_action(ledger: Ledger, policy: IntakePolicy, *, champion: int | None) -> Action | None:
    """What to do now; None while there is nothing to do.

    Args:
        ledger: What the log says.
        policy: Which requests are taken up.
        champion: The version that is the champion now.
    """
    for loop in ledger.loops.values():
        if loop.is_at_work and loop.accepted is not None:
            return Train(loop, loop.accepted) if loop.completed is None else Conclude(loop.completed)
    for loop in ledger.loops.values():
        if loop.is_waiting:
            return _blocked(ledger, loop, policy, champion) or Accept(loop)
    return None


def _blocked(ledger: Ledger, loop: Loop, policy: IntakePolicy, champion: int | None) -> Reject | None:
    """Why a request is not taken up, if it is not. A person's request needs to wait for nobody but another one."""
    request = loop.request
    if champion is None:
        return Reject(loop, Blocker.NO_CHAMPION, f"{request.model} has no champion to compare a candidate with")
    if request.version != champion:
        return Reject(loop, Blocker.NOT_CHAMPION, f"version {champion} is the champion, not {request.version}")
    for other in ledger.loops.values():
        if other.accepted is not None and other.offset < loop.offset < (other.ended_at or 0):
            return Reject(loop, Blocker.OPEN_REQUEST, f"loop {other.request.loop_id} was at work when it came")
    if request.reason is RetrainReason.MANUAL:
        return None
    return _too_late(ledger, loop) or _too_often(ledger, loop, policy)


def _too_late(ledger: Ledger, loop: Loop) -> Reject | None:
    newest = max(each.request.not_before for each in _automatic(ledger))
    if newest < loop.request.expires:
        return None
    return Reject(loop, Blocker.EXPIRED, f"it was good until {loop.request.expires}, and it is {newest} by now")


def _too_often(ledger: Ledger, loop: Loop, policy: IntakePolicy) -> Reject | None:
    at = loop.request.not_before
    ages = sorted(at - each.request.not_before for each in _automatic(ledger) if each.accepted and each is not loop)
    earlier = [age for age in ages if age >= timedelta()]
    if earlier and earlier[0] < policy.cooldown:
        return Reject(loop, Blocker.COOLDOWN, f"the last one was taken up {earlier[0]} before, not {policy.cooldown}")
    if sum(age < _DAY for age in earlier) >= policy.max_per_day:
        return Reject(loop, Blocker.DAILY_LIMIT, f"{policy.max_per_day} were taken up within a day before it")
    return None


def _automatic(ledger: Ledger) -> list[Loop]:
    """Loops that nobody asked for by hand: their times are those of the stream."""
    return [loop for loop in ledger.loops.values() if loop.request.reason is not RetrainReason.MANUAL]
