"""Keys: what one is, what it may do, and whether one that is shown holds.

A key is a text like `mr_ops_3kX...`: a mark by which scanners know it, its name, and 256 random bits. The log holds its
sha256 alone. That is enough, and no slow hash is needed: nobody guesses 256 bits.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Final

from millrace.core.errors import RequestError, TransientError

KEY_CALLER: Final = "key/"
"""Before a key's name where the history names who did something."""

TOKEN_CALLER: Final = "token/"  # noqa: S105 -- no secret
"""The same before the name that an identity provider's token gives to its bearer."""

_NAME: Final = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
_NAMED: Final = re.compile(_NAME)
_SHOWN: Final = re.compile(rf"mr_(?P<name>{_NAME})_[A-Za-z0-9_-]{{43}}")
_LONGEST_NAME: Final = 60
_NOBODY: Final = hashlib.sha256(b"").hexdigest()


class Role(StrEnum):
    """What a caller may do; each role may do what those before it may."""

    VIEWER = "viewer"
    """Look at everything, and ask models."""
    OPERATOR = "operator"
    """Change what runs."""
    ADMIN = "admin"
    """Give keys and take them away."""

    def includes(self, other: "Role") -> bool:
        """Whether who has this role may do what the other one may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


class KeyState(StrEnum):
    """What a key that somebody shows is worth."""

    VALID = "valid"
    UNKNOWN = "unknown"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What the log holds of a key.

    Attributes:
        name: Names it in the history; never given twice.
        role: What it may do.
        digest: sha256 of its text, hexadecimal. The text itself was shown once and is kept nowhere.
        created_ms: When it was made, milliseconds since 1970.
        created_by: Who made it.
        expires_ms: When it ends by itself; None for never.
        revoked_ms: When it was taken away; None while it was not.
    """

    name: str
    role: Role
    digest: str
    created_ms: int
    created_by: str
    expires_ms: int | None = None
    revoked_ms: int | None = None

    def __post_init__(self) -> None:
        if not _NAMED.fullmatch(self.name) or len(self.name) > _LONGEST_NAME:
            raise RequestError(
                f"{self.name[:_LONGEST_NAME]!r} is no name of a key",
                remedy=f"use at most {_LONGEST_NAME} lower-case letters, digits and hyphens",
            )

    def state(self, now_ms: int) -> KeyState:
        """What the key is worth at a time to who knows its text."""
        if self.revoked_ms is not None:
            return KeyState.REVOKED
        if self.expires_ms is not None and now_ms >= self.expires_ms:
            return KeyState.EXPIRED
        return KeyState.VALID

    def rotated(self, digest: str, *, now_ms: int, by: str) -> "ApiKey":
        """The same key with another text and a life of the same length, from now on."""
        lasts = None if self.expires_ms is None else self.expires_ms - self.created_ms
        expires_ms = None if lasts is None else now_ms + lasts
        return replace(self, digest=digest, created_ms=now_ms, created_by=by, expires_ms=expires_ms)


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who was let in: whom the history names, and what he may do."""

    who: str
    role: Role


class UnknownCallerError(RequestError):
    """The caller showed no key, or one that does not hold."""


class ForbiddenError(RequestError):
    """The caller is known, and may not do this."""


class TooManyAttemptsError(TransientError):
    """The caller showed wrong keys too often.

    Args:
        message: What is wrong.
        remedy: What to do.
        retry_after: When he may try again.
    """

    def __init__(self, message: str, *, remedy: str, retry_after: timedelta) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after = retry_after


def key_text(name: str, secret: str) -> str:
    """The text of a key.

    Args:
        name: Its name.
        secret: 256 random bits, as URL-safe base 64 without padding.
    """
    return f"mr_{name}_{secret}"


def key_name(shown: str) -> str | None:
    """The name of the key that a text claims to be; None where it is no key at all.

    >>> key_name("mr_ops_" + "x" * 43)
    'ops'
    >>> key_name("password")
    """
    found = _SHOWN.fullmatch(shown)
    return found["name"] if found else None


def shown_key(authorization: str, api_key: str = "") -> str:
    """The key in the headers `Authorization: Bearer KEY` or else `X-API-Key: KEY`; empty where there is none."""
    scheme, _, shown = authorization.partition(" ")
    return shown if scheme.lower() == "bearer" else api_key


def digest_of(text: str) -> str:
    """What the log holds of a key's text."""
    return hashlib.sha256(text.encode()).hexdigest()


def judge(shown: str, key: ApiKey | None, now_ms: int) -> KeyState:
    """What a shown text is worth, in a time that tells nothing about the key.

    Only who knows the text is told that the key was revoked or has expired.

    Args:
        shown: What the caller shows.
        key: The key of the name that it claims; None where there is none.
        now_ms: The time.
    """
    holds = hmac.compare_digest(digest_of(shown), _NOBODY if key is None else key.digest)
    return key.state(now_ms) if holds and key is not None else KeyState.UNKNOWN
