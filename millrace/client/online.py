"""The local online store: a real Valkey beside the local broker."""

from pathlib import Path

from millrace.process.settings import Settings
from millrace.store.local_redis import LocalRedis, RedisStatus


def start_redis(home: Path | None = None) -> RedisStatus:
    """Start the local online store unless it runs, and return when it answers.

    Raises:
        RequestError: Its package is not installed, or no port is free.
        TransientError: It does not answer.
        FatalError: It died.
    """
    return _local(home).start()


def stop_redis(home: Path | None = None) -> RedisStatus:
    """Stop the local online store if it runs; what it has is saved. Returns what was stopped."""
    redis = _local(home)
    status = redis.status()
    redis.stop()
    return status


def redis_status(home: Path | None = None) -> RedisStatus:
    """Whether the local online store runs, and where. Does not wait."""
    return _local(home).status()


def _local(home: Path | None) -> LocalRedis:
    return LocalRedis(home or Settings.load().home)
