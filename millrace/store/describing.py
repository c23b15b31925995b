"""What an online store says about itself."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from millrace.core.errors import RequestError
from millrace.process.settings import RedisSettings


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """What is known of a server.

    Attributes:
        place: Host and port.
        product: `redis` or `valkey`.
        version: Its version, as far as clients are concerned: of the Redis whose commands it has.
        eviction: What it does when its memory is full, as `maxmemory-policy` says.
    """

    place: str
    product: str
    version: str
    eviction: str


def describe_store(redis: RedisSettings) -> StoreFacts:
    """Ask a server what it is. Blocks for one round trip.

    Raises:
        RequestError: Its client is not installed.
        TransientError: It cannot be reached.
        FatalError: It refuses this client.
    """
    try:
        # Comes with the extra `redis`, which a process without online features does not need.
        from millrace.store.redis_client import connect, reaching  # noqa: PLC0415
    except ImportError:
        raise RequestError(
            "the client of the online store is not installed", remedy="pip install 'millrace[redis]'"
        ) from None
    client = connect(redis)
    try:
        with reaching(redis, "asking what it is"):
            server, memory = client.info("server"), client.info("memory")
    finally:
        client.close()
    return StoreFacts(
        urlsplit(redis.url).netloc,
        str(server.get("server_name", "redis")),
        str(server["redis_version"]),
        str(memory.get("maxmemory_policy", "")),
    )
