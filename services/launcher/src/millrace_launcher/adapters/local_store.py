"""The online store of a node on its own: started for processes that need one, where none is named."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import structlog

from millrace.core.clock import Clock
from millrace.core.errors import MillraceError
from millrace.process.settings import Settings
from millrace.store.local_redis import LocalRedis

log = structlog.get_logger()

_LOOK_EVERY: Final = timedelta(seconds=2)


@dataclass(slots=True)
class LocalStore:
    """Sees to it that a local online store runs while it is needed. It outlives the daemon, as what uses it does.

    Attributes:
        settings: Of the daemon; what it starts looks for a store under the same home.
        clock: The system's.
    """

    settings: Settings
    clock: Clock
    _looked: float | None = field(default=None, init=False)
    _trouble: str = field(default="", init=False)

    def tend(self, *, is_needed: bool) -> None:
        """Start the store if it is needed and does not run. Says once what keeps it from starting."""
        if not is_needed or self.settings.redis is not None or not self._is_due():
            return
        redis = LocalRedis(self.settings.home)
        try:
            if not redis.status().running:
                log.info("online store started", url=redis.start().url)
            self._trouble = ""
        except MillraceError as error:
            if error.message != self._trouble:
                log.warning("no online store", reason=error.message, remedy=error.remedy)
            self._trouble = error.message

    def _is_due(self) -> bool:
        now = self.clock.monotonic()
        if self._looked is not None and now - self._looked < _LOOK_EVERY.total_seconds():
            return False
        self._looked = now
        return True
