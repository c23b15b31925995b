"""What an autoscaler might have seen, told second by second."""

from datetime import timedelta

from millrace.core.control.autoscaler import decide_scale
from millrace.core.control.scaling import Decision, Observation, ScalePolicy

POLICY = ScalePolicy(
    goal=timedelta(milliseconds=500),
    max_replicas=8,
    polling_interval=timedelta(seconds=1),
    cooldown=timedelta(seconds=20),
)
SOON = timedelta(milliseconds=80)
LATE = timedelta(seconds=3)


class Story:
    """Observations a second apart, of four partitions alike."""

    def __init__(self, *, capacity: float | None = 100.0) -> None:
        self.capacity = capacity
        self.history: list[Observation] = []
        self.committed = self.ends = 0.0

    def went(
        self,
        seconds: int,
        *,
        came: float,
        done: float,
        scorers: int,
        ready: int | None = None,
        latency: timedelta = SOON,
    ) -> "Story":
        for _ in range(seconds):
            self.ends += came
            self.committed = min(self.committed + done, self.ends)
            self.history.append(
                Observation(
                    at_ms=1000 * len(self.history),
                    desired=scorers,
                    ready=scorers if ready is None else ready,
                    committed=(int(self.committed / 4),) * 4,
                    ends=(int(self.ends / 4),) * 4,
                    latency=latency,
                    capacity=self.capacity,
                )
            )
        return self

    def decides(self, policy: ScalePolicy = POLICY) -> Decision:
        return decide_scale(policy, self.history)
