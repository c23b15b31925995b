"""What a run of chaos does and when: drawn from a seed before anything starts."""

from dataclasses import dataclass
from enum import StrEnum
from random import Random

from millrace.process.settings import LaneBody


class Fault(StrEnum):
    """What happens to a scorer."""

    KILL = "kill"
    """`kill -9`; started again in its slot a moment later."""
    FREEZE = "freeze"
    """SIGSTOP past the session timeout, then SIGCONT: a zombie that believes in partitions it has lost."""


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault.

    Attributes:
        after: Seconds since the strike before it.
        fault: What happens.
        slot: To whom.
        lasting: Seconds until the scorer is started again, or wakes up.
    """

    after: float
    fault: Fault
    slot: int
    lasting: float


@dataclass(frozen=True, slots=True)
class Plan:
    """One run.

    Attributes:
        seed: What everything random is drawn from.
        records: How many keyed records.
        partitions: Of the topic.
        scorers: How many processes share the work.
        kills: How many kills.
        freezes: How many freezes.
        session_secs: Time after which the group misses a silent scorer.
        lane: The body of the scorers' lanes.
    """

    seed: int
    records: int = 100_000
    partitions: int = 8
    scorers: int = 3
    kills: int = 20
    freezes: int = 5
    session_secs: float = 4.0
    lane: LaneBody = LaneBody.PYTHON

    def strikes(self) -> list[Strike]:
        """The faults in order. Pauses between them are short enough to hit scorers that are still coming back."""
        random = Random(self.seed)
        faults = [Fault.KILL] * self.kills + [Fault.FREEZE] * self.freezes
        random.shuffle(faults)
        return [
            Strike(
                after=random.uniform(0.3, 3.0),
                fault=fault,
                slot=random.randrange(self.scorers),
                lasting=random.uniform(0.0, 1.5) if fault is Fault.KILL else self.session_secs + random.uniform(1, 3),
            )
            for fault in faults
        ]
