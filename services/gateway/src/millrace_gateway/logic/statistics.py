"""What each model version has done since it was loaded, as the statistics extension of the protocol tells it."""

from dataclasses import dataclass, field
from datetime import timedelta


@dataclass(slots=True)
class Tally:
    """How often something happened, and how long it took altogether."""

    count: int = 0
    total: timedelta = timedelta(0)

    def add(self, took: timedelta, *, times: int = 1) -> None:
        """It happened `times` times and took `took` each."""
        self.count += times
        self.total += took * times

    @property
    def nanoseconds(self) -> int:
        """The whole time."""
        return self.total // timedelta(microseconds=1) * 1000


@dataclass(slots=True)
class ModelStatistics:
    """Counts of one model version. For one event loop.

    Attributes:
        rows: Rows that were scored.
        executions: Micro-batches.
        last_ms: When the last one ended, milliseconds since 1970; 0 before the first.
        succeeded: Requests that were answered, from arrival to answer.
        failed: Requests that were not.
        waited: Requests, and how long the oldest of their micro-batch waited.
        inferred: Micro-batches, and what the model took.
    """

    rows: int = 0
    executions: int = 0
    last_ms: int = 0
    succeeded: Tally = field(default_factory=Tally)
    failed: Tally = field(default_factory=Tally)
    waited: Tally = field(default_factory=Tally)
    inferred: Tally = field(default_factory=Tally)
