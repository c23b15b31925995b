"""When a process that ended by itself may start again."""

from dataclasses import dataclass
from datetime import timedelta

from millrace.core.control.fleet import Process


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How often and how soon.

    The first restart is at once, because most ends are accidents of the machine; what ends again and again waits
    longer each time, and is given up with its reason in the end.

    Attributes:
        tries: Crashes in a row that are answered by another start.
        first: Wait before the second restart; doubles from there.
        longest: No wait is longer.
        stable: A process that was ready for so long makes earlier crashes count no more.
    """

    tries: int = 5
    first: timedelta = timedelta(seconds=1)
    longest: timedelta = timedelta(minutes=1)
    stable: timedelta = timedelta(seconds=10)

    def wait(self, crashes: int) -> timedelta:
        """How long to wait after that many crashes in a row.

        >>> policy = RestartPolicy()
        >>> [policy.wait(n).total_seconds() for n in (1, 2, 3, 4, 5)]
        [0.0, 1.0, 2.0, 4.0, 8.0]
        """
        if crashes < 2:
            return timedelta(0)
        return min(self.first * (1 << min(crashes - 2, 20)), self.longest)

    def crashes(self, before: int, process: Process) -> int:
        """The crashes in a row, this end included."""
        if process.ready_ms is None or process.ended_ms is None:
            return before + 1
        was_stable = process.ended_ms - process.ready_ms >= self.stable / timedelta(milliseconds=1)
        return 1 if was_stable else before + 1
