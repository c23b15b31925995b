"""How a gateway answers for a deployment."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, Field

from millrace.process.deployment.names import Topic
from millrace.process.settings import FROZEN


class LogMode(StrEnum):
    """How surely requests that a gateway answers, and its answers, become records."""

    REQUIRED = "required"
    """An answer is given once the broker has its request and its prediction; without a broker there is no answer."""
    BEST_EFFORT = "best_effort"
    """An answer waits for nobody; what could not be written is counted."""


class Online(BaseModel):
    """How a gateway answers for this deployment."""

    model_config = FROZEN

    log: LogMode = LogMode.BEST_EFFORT
    """Whether an answer waits until it is a record. It does not by default, so that the broker adds no latency."""
    max_wait_ms: Annotated[int, Field(ge=0, le=60_000)] = 0
    """Longest wait of a request for others to share its micro-batch. None by default: what comes while the model is
    busy is the next micro-batch."""
    requests: Topic | None = None
    """Topic of requests; `<deployment>.requests` where absent."""

    @property
    def max_wait(self) -> timedelta:
        """Longest wait of a request for others to share its micro-batch."""
        return timedelta(milliseconds=self.max_wait_ms)
