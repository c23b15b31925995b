"""How far a job is, and when it will end."""

from dataclasses import asdict, dataclass
from typing import Any, Self

_SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Progress:
    """A job's state at one moment.

    Attributes:
        started_at: Seconds since 1970: when the first run began.
        updated_at: Seconds since 1970: when this was written.
        working_secs: How long the job has been at work, all runs together.
        read: Rows read so far.
        scored: Rows scored so far.
        filtered: Rows that the transform left out.
        refused: Rows that could not be scored.
        done_bytes: Bytes of input that are done.
        total_bytes: Bytes of all input; None while files are still being found.
        is_complete: Whether the manifest is written.
    """

    started_at: float
    updated_at: float
    working_secs: float
    read: int
    scored: int
    filtered: int
    refused: int
    done_bytes: int
    total_bytes: int | None
    is_complete: bool = False

    @property
    def rows_per_sec(self) -> float:
        """Rows read for each second of work."""
        return self.read / self.working_secs if self.working_secs else 0.0

    @property
    def hours(self) -> float:
        """Hours of work so far."""
        return self.working_secs / _SECONDS_PER_HOUR

    @property
    def share(self) -> float | None:
        """Which part of the input is done, from 0 to 1; None while nobody knows how much there is."""
        if self.is_complete:
            return 1.0
        if self.total_bytes is None:
            return None
        return min(self.done_bytes / self.total_bytes, 1.0) if self.total_bytes else 1.0

    @property
    def remaining_secs(self) -> float | None:
        """How long it will still take, at the speed so far; None while nobody can know."""
        share = self.share
        if not share or not self.working_secs:
            return None
        return self.working_secs * (1 - share) / share

    @property
    def projected_end(self) -> float | None:
        """When the job will end, in seconds since 1970; None while nobody can know."""
        remaining = self.remaining_secs
        return None if remaining is None else self.updated_at + remaining

    def document(self) -> dict[str, Any]:
        """As JSON values, with what follows from them."""
        derived = {
            "hours": round(self.hours, 4),
            "rows_per_sec": round(self.rows_per_sec, 1),
            "share": self.share,
            "projected_end": self.projected_end,
        }
        return {**asdict(self), **derived}

    @classmethod
    def of(cls, document: dict[str, Any]) -> Self:
        """Read what `document` returned."""
        return cls(**{name: document[name] for name in cls.__dataclass_fields__})
