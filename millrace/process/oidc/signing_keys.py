"""The provider's signing keys as they were a while ago: known without waiting, asked for in the background."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from threading import Event, Thread
from typing import Final, Self

import structlog
from joserfc.jwk import Key

from millrace.core.clock import Clock
from millrace.core.errors import MillraceError, TransientError
from millrace.process.oidc.settings import OidcSettings

log = structlog.get_logger()

_NEVER: Final = float("-inf")


@dataclass(frozen=True, slots=True)
class Pace:
    """When the provider is asked.

    Attributes:
        refresh: From one answer to the next question.
        retry: Least time between two questions.
        hold: How long an answer holds.
    """

    refresh: timedelta
    retry: timedelta
    hold: timedelta

    @classmethod
    def of(cls, settings: OidcSettings) -> Self:
        """As the settings say."""
        secs = (settings.refresh_secs, settings.retry_secs, settings.hold_secs)
        return cls(*(timedelta(seconds=each) for each in secs))

    def next_at(self, *, tried: float, known: float, is_wanted: bool) -> float:
        """When to ask next, in the seconds of the arguments.

        Args:
            tried: When it was asked last.
            known: When it answered last.
            is_wanted: Whether somebody has named a key since that nobody knows.
        """
        soonest = tried + self.retry.total_seconds()
        is_stale = known < tried
        return soonest if is_wanted or is_stale else max(soonest, known + self.refresh.total_seconds())


class SigningKeys:
    """Follows the provider's keys on a thread of its own, while inside a `with`. `find` may be called from any thread.

    What is held is one answer of the provider's, whatever is asked for.

    Args:
        fetch: Asks the provider, and waits for it.
        pace: When to.
        clock: The system's.
    """

    def __init__(self, fetch: Callable[[], Mapping[str, Key]], pace: Pace, clock: Clock) -> None:
        self._fetch = fetch
        self._pace = pace
        self._clock = clock
        self._keys: Mapping[str, Key] = {}
        self._tried = self._known = _NEVER
        self._began = clock.monotonic()
        self._said = ""
        self._is_wanted = False
        self._is_over = False
        self._wake = Event()
        self._thread = Thread(target=self._run, name="signing-keys")

    def find(self, kid: str) -> Key | None:
        """The key of this id; None where the provider had none when it was asked last. Never waits.

        An id that nobody knows lets the provider be asked again, but not more often than the pace says.

        Raises:
            TransientError: The provider has not answered for too long.
        """
        if self._clock.monotonic() - self._known > self._pace.hold.total_seconds():
            raise TransientError("the identity provider does not answer", remedy="show a key, or try again later")
        found = self._keys.get(kid)
        if found is None and not self._is_wanted:
            self._is_wanted = True
            self._wake.set()
        return found

    def age_secs(self) -> float:
        """Seconds since the provider answered last; since the beginning where it has not yet."""
        return self._clock.monotonic() - max(self._known, self._began)

    def turn(self) -> timedelta:
        """Ask the provider if it is time to. Returns how long nothing is to be done. For one thread."""
        if self._wait() <= 0:
            try:
                self._ask()
            except MillraceError as error:
                self._warn(error)
        return timedelta(seconds=max(0.0, self._wait()))

    def __enter__(self) -> Self:
        """Ask for the first time, so that a token that comes with the first request finds its key.

        Raises:
            RequestError: The provider is not what the settings say. One that is away may be there later.
        """
        try:
            self._ask()
        except TransientError as error:
            self._warn(error)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._wake.set()
        self._thread.join()

    def _wait(self) -> float:
        """Seconds until it is time to ask."""
        at = self._pace.next_at(tried=self._tried, known=self._known, is_wanted=self._is_wanted)
        return at - self._clock.monotonic()

    def _ask(self) -> None:
        self._tried, self._is_wanted = self._clock.monotonic(), False
        self._keys = self._fetch()
        self._known, self._said = self._tried, ""

    def _warn(self, error: MillraceError) -> None:
        """Say why the keys are not known anew; once, not after every question."""
        if error.message != self._said:
            self._said = error.message
            log.warning("the identity provider's keys are not known anew", why=error.message, remedy=error.remedy)

    def _run(self) -> None:
        while not self._is_over:
            self._wake.wait(self.turn().total_seconds())
            self._wake.clear()
