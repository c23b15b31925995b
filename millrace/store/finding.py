"""Which online store is meant, and opening it where its client is installed."""

from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING, Final

from millrace.core.errors import FatalError, RequestError, TransientError
from millrace.process.settings import RedisSettings, Settings
from millrace.store.local_redis import LocalRedis
from millrace.store.lookup import Found, Lookup

if TYPE_CHECKING:
    from millrace.store.online import OnlineStore


def find_redis(settings: Settings, *, wanted: str) -> RedisSettings:
    """The online store that the environment names, else the local one that runs under its home.

    Args:
        settings: What the environment says.
        wanted: Who needs it, for the error: `"deployment rain has features from the online store"`.

    Raises:
        RequestError: None is named and none runs here.
    """
    if settings.redis is not None:
        return settings.redis
    status = LocalRedis(settings.home).status()
    if status.running and status.url:
        return RedisSettings(url=status.url)
    raise RequestError(
        f"{wanted}, but none is named and no local one runs",
        remedy="run `millrace up --redis`, or name one: MILLRACE_REDIS__URL=redis://HOST:PORT",
    )


def open_online_store(settings: Settings, *, wanted: str) -> "OnlineStore":
    """The online store that is meant, see `find_redis`. It connects at its first use.

    Raises:
        RequestError: None is named and none runs here, or its client is not installed.
    """
    redis = find_redis(settings, wanted=wanted)
    try:
        # The client comes with the extra `redis`, which a process without online features does not need.
        from millrace.store.online import OnlineStore  # noqa: PLC0415
    except ImportError:
        raise RequestError(
            f"{wanted}, and its client is not installed", remedy="pip install 'millrace[redis]'"
        ) from None
    return OnlineStore(redis)


class SoughtOnlineStore:
    """The online store for a process that does without it where it can. Safe from several threads.

    It is looked for at the first use and, while there is none, at each: one that is started later is found. Whatever is
    wrong with it is not the fault of who asks, and may be mended while this process runs.

    Args:
        settings: What the environment says.
        wanted: Who needs it; see `find_redis`.
    """

    def __init__(self, settings: Settings, *, wanted: str) -> None:
        self._settings: Final = settings
        self._wanted: Final = wanted
        self._lock: Final = Lock()
        self._opened: OnlineStore | None = None

    def fetch(self, lookups: Sequence[Lookup]) -> list[Found]:
        """Look all of it up, in one round trip.

        Raises:
            TransientError: There is none, it is away or slow, or it refuses this client.
        """
        try:
            return self._store().fetch(lookups)
        except (RequestError, FatalError) as error:
            raise TransientError(error.message, remedy=error.remedy) from error

    def close(self) -> None:
        """Close the connections. May be called twice."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()

    def _store(self) -> "OnlineStore":
        with self._lock:
            if self._opened is None:
                self._opened = open_online_store(self._settings, wanted=self._wanted)
            return self._opened
