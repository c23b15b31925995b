"""What a subscriber asks for, in the words of every door."""

from datetime import datetime
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from millrace.client.starts import parse_start
from millrace.core.errors import RequestError
from millrace.kafka.reading import Start
from millrace_gateway.logic.positions import MAX_ID_CHARACTERS, is_id, parse_id
from millrace_gateway.logic.selection import Selection

_MAX_KEYS: Final = 1_000

Score = Annotated[float | None, Field(allow_inf_nan=False)]


class Wanted(BaseModel):
    """The parameters of a subscription; all of them are optional."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    start: Annotated[str, Field(max_length=MAX_ID_CHARACTERS)] = "latest"
    """Where to begin: `earliest`, `latest`, a time (ISO 8601), a time ago (`10m`), or the id of an event."""
    key: Annotated[list[str], Field(max_length=_MAX_KEYS)] = []
    """Only these keys."""
    version: Annotated[int | None, Field(ge=1)] = None
    """Only predictions of this version of the model."""
    class_name: Annotated[str | None, Field(alias="class")] = None
    """The class whose score is meant; the predicted one where absent."""
    min_score: Score = None
    """Only scores (for a regression, values) of at least this."""
    max_score: Score = None
    """Only scores (for a regression, values) of at most this."""

    def selection(self) -> Selection:
        """Which predictions are wanted.

        Raises:
            RequestError: No score lies in the range.
        """
        return Selection(
            frozenset(map(str.encode, self.key)),
            self.version,
            self.class_name,
            -float("inf") if self.min_score is None else self.min_score,
            float("inf") if self.max_score is None else self.max_score,
        )

    def begin(self, last_event_id: str | None, *, now: datetime) -> Start:
        """Where to begin; the id of the last event that a subscriber has goes before the parameter.

        Raises:
            RequestError: It names no place.
        """
        if last_event_id:
            return parse_id(last_event_id)
        if is_id(self.start):
            return parse_id(self.start)
        try:
            return parse_start(self.start, now)
        except (RequestError, OverflowError):
            raise RequestError(
                f"{self.start[:80]!r} is no place to begin",
                remedy="write earliest, latest, 10m, a time such as 2026-11-23T12:00:00Z, or the id of an event",
            ) from None
