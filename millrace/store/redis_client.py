"""The client of the online store, and what its errors mean to a caller, decided in one place."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,  # noqa: A004 -- the client's own name for it
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,  # noqa: A004 -- the client's own name for it
    TryAgainError,
    WatchError,
)
from redis.retry import Retry

from millrace.core.errors import FatalError, MillraceError, TransientError
from millrace.process.settings import RedisSettings

Client: TypeAlias = Redis
"""A client with its pool of connections. Safe to use from several threads."""

_REFUSALS: Final = (AuthenticationError, AuthorizationError, NoPermissionError)
_MOVING: Final = (BusyLoadingError, ClusterDownError, MasterDownError, ReadOnlyError, TryAgainError)
_UNWELL: Final = ("MISCONF", "NOREPLICAS", "UNKILLABLE", "BUSY ", "LOADING", "READONLY")
"""Answers of a server that cannot write now: its disk, its replicas, a script that will not end, a failover."""


def connect(settings: RedisSettings) -> Client:
    """A client; nothing is sent before its first use.

    Raises:
        RequestError: The password file cannot be read.
    """
    parts = urlsplit(settings.url)
    secure: dict[str, Any] = {}
    if parts.scheme == "rediss":
        secure = {
            "ssl": True,
            "ssl_ca_certs": _text(settings.ssl_ca),
            "ssl_certfile": _text(settings.ssl_certificate),
            "ssl_keyfile": _text(settings.ssl_key),
            "ssl_check_hostname": settings.ssl_verify_hostname,
        }
    return Redis(
        host=parts.hostname or "localhost",
        port=parts.port or 6379,
        db=int(parts.path.strip("/") or 0),
        username=settings.username,
        password=settings.secret(),
        socket_connect_timeout=settings.connect_timeout_ms / 1000,
        socket_timeout=settings.timeout_ms / 1000,
        # Once more and at once: a connection that lay idle may have been closed by whoever stands between. Longer waits
        # are the caller's, who knows what else there is to do meanwhile; and who does not answer is not asked twice.
        retry=Retry(NoBackoff(), 1, supported_errors=(ConnectionError,)),
        client_name="millrace",
        protocol=2,
        **secure,
    )


@contextmanager
def reaching(settings: RedisSettings, doing: str) -> Iterator[None]:
    """Turn the client's errors into ours.

    Args:
        settings: Which server.
        doing: What is being done and to what, as a phrase: `"reading the table rain.predictions"`.

    Raises:
        TransientError: The server is away, slow, full, or between two states.
        FatalError: The server refuses this client, or what it was asked.
    """
    try:
        yield
    except RedisError as error:
        raise explain(error, settings, doing) from error


@contextmanager
def watch_lost(message: str) -> Iterator[None]:
    """Within: a watched key was changed, or the connection that watched it broke; what the key holds now tells which.

    Raises:
        TransientError: With the message.
    """
    try:
        yield
    except WatchError as error:
        raise TransientError(message, remedy="run again: it goes on after what is written") from error


def explain(error: RedisError, settings: RedisSettings, doing: str) -> MillraceError:
    """The error of ours that says what the caller must do."""
    place = f"{doing}: the online store at {urlsplit(settings.url).netloc}"
    if isinstance(error, _REFUSALS):
        return FatalError(
            f"{place} refuses this client: {error}",
            remedy="check MILLRACE_REDIS__USERNAME and MILLRACE_REDIS__PASSWORD",
        )
    if isinstance(error, OutOfMemoryError):
        return TransientError(f"{place} is full", remedy="raise its maxmemory, or give the table a TTL")
    if isinstance(error, _MOVING) or (isinstance(error, ResponseError) and str(error).startswith(_UNWELL)):
        return TransientError(f"{place} cannot do that now: {error}", remedy="look at its own log")
    if isinstance(error, ConnectionError):
        return TransientError(
            f"{place} cannot be reached: {error}", remedy="check that it runs and that MILLRACE_REDIS__URL names it"
        )
    if isinstance(error, TimeoutError):
        return TransientError(
            f"{place} does not answer in time", remedy="check its load, or raise MILLRACE_REDIS__TIMEOUT_MS"
        )
    return FatalError(f"{place} refuses: {error}", remedy="millrace needs Redis 6.2 or newer, or Valkey")


def _text(path: object | None) -> str | None:
    return None if path is None else str(path)
