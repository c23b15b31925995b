"""How often each of many callers may do a thing in a sliding time. Pure: the time is an argument."""

from collections import OrderedDict, deque
from datetime import timedelta

_MOST_CALLERS = 10_000


class Allowance:
    """Counts by caller; forgets who was quiet for longest when there are too many. Not thread-safe.

    Args:
        most: How often a caller may, within the time.
        within: The time.
        most_callers: The most callers that are remembered.
    """

    def __init__(self, most: int, within: timedelta, *, most_callers: int = _MOST_CALLERS) -> None:
        self._most = most
        self._within = within.total_seconds()
        self._most_callers = most_callers
        self._taken: OrderedDict[str, deque[float]] = OrderedDict()

    def take(self, caller: str, now: float) -> timedelta:
        """Let the caller do it once more: zero where he may, else how long until he may again.

        Args:
            caller: Who.
            now: Seconds of a clock that never goes back.
        """
        times = self._taken.setdefault(caller, deque(maxlen=self._most))
        self._taken.move_to_end(caller)
        if len(self._taken) > self._most_callers:
            self._taken.popitem(last=False)
        if len(times) == self._most and now - times[0] < self._within:
            return timedelta(seconds=self._within - (now - times[0]))
        times.append(now)
        return timedelta(0)
