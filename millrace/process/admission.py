"""Who may come in, and what he may do: the same at every door."""

import hmac
from datetime import timedelta
from threading import Lock
from typing import Final, Protocol

from millrace.core.clock import Clock
from millrace.core.control.allowance import Allowance
from millrace.core.control.keys import (
    KEY_CALLER,
    ApiKey,
    Caller,
    ForbiddenError,
    KeyState,
    Role,
    TooManyAttemptsError,
    UnknownCallerError,
    judge,
    key_name,
)

_ATTEMPTS: Final = 10
_WITHIN: Final = timedelta(minutes=1)
_REMEDIES: Final = {
    KeyState.UNKNOWN: "set MILLRACE_KEY or MILLRACE_KEY_FILE; who has a key for it makes one: `millrace keys create`",
    KeyState.EXPIRED: "who has a key for it makes it new: `millrace keys rotate`",
    KeyState.REVOKED: "who has a key for it makes another one: `millrace keys create`",
}

_DOTS: Final = 2
"""In a signed token, of three parts; a key has none."""

_ENDS: Final = {KeyState.EXPIRED: "has expired", KeyState.REVOKED: "was revoked"}


class Keys(Protocol):
    """Knows every key. See `millrace.kafka.keys.KeyView`."""

    def find(self, name: str) -> ApiKey | None:
        """The key of this name as it is now; None where there is none. Does not wait.

        Raises:
            FatalError, TransientError: What becomes of keys is not known any more.
        """


class Tokens(Protocol):
    """Knows callers by tokens. See `millrace.process.oidc.tokens.Tokens`."""

    def recognise(self, shown: str, now_ms: int) -> Caller:
        """Who the bearer of a token is at a time. Does not wait.

        Raises:
            UnknownCallerError: The token is worth nothing.
            ForbiddenError: It gives no role here.
            TransientError: What it is worth is not known now.
        """
        ...


class Doorkeeper:
    """Lets callers in by their keys, or by tokens. Safe to use from any thread; never waits.

    Args:
        keys: Knows them.
        clock: Says when they expire.
        owner: A secret beside the keys, which opens everything; None for no such secret.
        tokens: Knows tokens; None where none are taken.
    """

    def __init__(self, keys: Keys, *, clock: Clock, owner: str | None = None, tokens: Tokens | None = None) -> None:
        self._keys = keys
        self._clock = clock
        self._owner = None if owner is None else owner.encode()
        self._tokens = tokens
        self._failures = Allowance(_ATTEMPTS, _WITHIN)
        self._lock = Lock()  # Of the failures.

    def admit(self, shown: str, *, address: str, needs: Role, user: str = "owner") -> Caller:
        """Let somebody in.

        A key that holds is let in however many wrong ones came from its address, so that nobody can shut others out.

        Args:
            shown: The key or the token that he shows; empty where he shows none.
            address: Where he calls from; wrong keys are counted by it.
            needs: The role for what he wants to do.
            user: Whom to name where the owner's secret is shown; a key has a name of its own.

        Raises:
            UnknownCallerError: He shows no key and no token, or one that does not hold.
            TooManyAttemptsError: The same, again and again.
            ForbiddenError: His role does not allow it.
            FatalError, TransientError: What becomes of keys, or of the provider's, is not known any more.
        """
        if not shown:
            raise UnknownCallerError("no key was shown", remedy=_REMEDIES[KeyState.UNKNOWN])
        try:
            caller = self._recognise(shown, user)
        except UnknownCallerError:
            self._count(address)
            raise
        if not caller.role.includes(needs):
            raise ForbiddenError(
                f"{caller.who} is {caller.role}, and this takes the role {needs}",
                remedy=f"use a key of the role {needs}: `millrace keys create NAME --role {needs}`",
            )
        return caller

    def _recognise(self, shown: str, user: str) -> Caller:
        if self._owner is not None and hmac.compare_digest(shown.encode(), self._owner):
            return Caller(user, Role.ADMIN)
        now_ms = self._clock.wall_ms()
        if self._tokens is not None and shown.count(".") == _DOTS:
            return self._tokens.recognise(shown, now_ms)
        name = key_name(shown)
        key = None if name is None else self._keys.find(name)
        state = judge(shown, key, now_ms)
        if state is KeyState.VALID and key is not None:
            return Caller(f"{KEY_CALLER}{key.name}", key.role)
        said = "the key is wrong" if state is KeyState.UNKNOWN else f"the key {name!r} {_ENDS[state]}"
        raise UnknownCallerError(said, remedy=_REMEDIES[state])

    def _count(self, address: str) -> None:
        """Count what is worth nothing; raises where that is one too many."""
        with self._lock:
            wait = self._failures.take(address, self._clock.monotonic())
        if wait:
            raise TooManyAttemptsError(
                "too many wrong keys came from this address", remedy="wait, and show the right one", retry_after=wait
            )
