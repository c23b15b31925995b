"""Which online store is meant, and opening it where its client is installed."""

from typing import TYPE_CHECKING

from millrace.core.errors import RequestError
from millrace.process.settings import RedisSettings, Settings
from millrace.store.local_redis import LocalRedis

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
