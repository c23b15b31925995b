"""Whether processes do their work: what they say on `/readyz`."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Final, Self

import httpx

from millrace.core.clock import Clock
from millrace.core.control.fleet import Slot
from millrace_launcher.logic.kinds import READY
from millrace_launcher.logic.liveness import Life
from millrace_launcher.logic.ports import Running

_PATIENCE: Final = timedelta(milliseconds=500)
_GOOD_FOR: Final = timedelta(seconds=1)
_LONGEST: Final = 300


@dataclass(frozen=True, slots=True)
class Readiness:
    """What a process says.

    Attributes:
        is_ready: Whether it does its work.
        why: Its reason, in one line.
    """

    is_ready: bool
    why: str


class Prober:
    """Asks processes; one that is ready again after a second only. Not thread-safe; close it, or use it in a `with`.

    Args:
        clock: Tells how old an answer is.
        paths: Where processes of a kind answer, by kind; `/readyz` for one that is not there.
    """

    def __init__(self, clock: Clock, paths: Mapping[str, str] | None = None) -> None:
        self._clock = clock
        self._paths = paths or {}
        self._answers: dict[str, tuple[float, Readiness]] = {}
        # No proxy: these are addresses of this machine.
        self._client = httpx.Client(timeout=_PATIENCE.total_seconds(), trust_env=False)
        logging.getLogger("httpx").setLevel(logging.WARNING)  # It would log every probe.

    def ask(self, processes: Iterable[Running]) -> Mapping[Slot, Readiness]:
        """What each process says that serves its health; blocks for half a second for one that does not answer."""
        return {
            each.slot: self._latest(each.url + self._paths.get(each.slot.kind, READY)) for each in processes if each.url
        }

    def life(self, process: Running) -> Life:
        """What a process says on `/livez`; blocks for half a second where it does not answer."""
        try:
            answer = self._client.get(f"{process.url}/livez")
        except httpx.HTTPError as error:
            return Life(None, f"it does not answer: {type(error).__name__}")
        return Life(answer.is_success, answer.text.strip()[:_LONGEST])

    def close(self) -> None:
        """Release everything."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _latest(self, url: str) -> Readiness:
        now = self._clock.monotonic()
        at, known = self._answers.get(url, (now, None))
        if known is not None and known.is_ready and now - at < _GOOD_FOR.total_seconds():
            return known
        answer = self._ask(url)
        self._answers[url] = (now, answer)
        return answer

    def _ask(self, url: str) -> Readiness:
        try:
            answer = self._client.get(url)
        except httpx.ConnectError:
            return Readiness(is_ready=False, why="it does not answer yet")
        except httpx.HTTPError as error:
            return Readiness(is_ready=False, why=f"it does not answer: {type(error).__name__}")
        return Readiness(answer.is_success, answer.text.strip()[:_LONGEST])
