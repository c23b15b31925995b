"""What a run does and when: drawn from a seed before anything starts."""

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Strike:
    """One kill.

    Attributes:
        after: Seconds since the worker before it had recovered, or since it was started again.
        worker: Who is killed.
        down: Seconds until it is started again.
        waits: Whether the next strike waits for recovery; if not, it hits workers that are still recovering.
    """

    after: float
    worker: int
    down: float
    waits: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """One run.

    Attributes:
        seed: What everything random is drawn from.
        store: Where Faust keeps its tables: `memory://` or `rocksdb://`.
        guarantee: Faust's processing guarantee.
        check: Whether Faust checks the offsets of its tables when it recovers, and stops where they look wrong.
        partitions: Of every topic.
        workers: Processes that share them.
        kills: How many kills.
        records_per_sec: How fast evidence comes.
        calm_secs: Time before the first kill. Without kills it is the whole run, which must be clean.
        patience_secs: Time without progress after which it hangs.
    """

    seed: int
    store: str = "rocksdb://"
    guarantee: str = "exactly_once"
    check: bool = True
    partitions: int = 4
    workers: int = 2
    kills: int = 10
    records_per_sec: int = 50
    calm_secs: float = 5.0
    patience_secs: float = 60.0

    def strikes(self) -> list[Strike]:
        """The kills in order; every third one leaves no time to recover, the last one does."""
        random = Random(self.seed)
        return [
            Strike(
                after=random.uniform(1.0, 8.0),
                worker=random.randrange(self.workers),
                down=random.uniform(0.0, 3.0),
                waits=number % 3 != 0 or number == self.kills,
            )
            for number in range(1, self.kills + 1)
        ]
