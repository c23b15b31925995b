"""Avro schemas in a schema registry that speaks Confluent's REST API."""

from datetime import timedelta
from typing import Final

from millrace.core.clock import Clock
from millrace.core.errors import FatalError, MillraceError, RequestError, TransientError

try:  # the client takes httpx2 where it is installed, and raises its errors
    import httpx2 as httpx
except ImportError:
    import httpx  # type: ignore[no-redef]

try:
    from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
    from confluent_kafka.schema_registry.error import SchemaRegistryError
except ImportError as missing:  # the client's registry part needs the packages of the extra
    raise RequestError(
        f"the schema registry client is not installed: {missing}", remedy="pip install 'millrace[registry]'"
    ) from missing

_TIMEOUT: Final = timedelta(seconds=5)
_NOT_FOUND: Final = 404
_REFUSED: Final = frozenset({401, 403})
_WRONG: Final = frozenset({409, 422})


class SchemaRegistry:
    """Finds and registers schemas. See `millrace.codec.schema_source.SchemaSource`.

    A schema that was found is remembered for good, because ids never change their meaning. An id that is unknown is
    not asked for again for a while: records can carry any number of invented ids, and each question takes time from
    the scoring of the others.

    Args:
        url: Where the registry is; may carry a user name and a password.
        clock: Measures how long unknown ids stay unknown.
        unknown_for: How long that is.
        most_unknown: How many unknown ids are remembered; beyond them, no new id is asked for until some are forgotten.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Clock,
        unknown_for: timedelta = timedelta(seconds=10),
        most_unknown: int = 100,
    ) -> None:
        # It must answer soon or not at all: whoever asks pauses, keeps polling, and asks again.
        self._client: Final = SchemaRegistryClient({"url": url, "timeout": _TIMEOUT.total_seconds(), "max.retries": 0})
        self._place: Final = httpx.URL(url).copy_with(userinfo=b"")
        self._clock: Final = clock
        self._unknown_for: Final = unknown_for.total_seconds()
        self._most_unknown: Final = most_unknown
        self._unknown_since: Final[dict[int, float]] = {}

    def schema(self, schema_id: int) -> str | None:
        """The text of the schema, or None where the registry has none of this id.

        Raises:
            TransientError: The registry cannot be reached or is in trouble.
            FatalError: The registry refuses the credentials.
        """
        now = self._clock.monotonic()
        for known in [known for known, since in self._unknown_since.items() if now - since >= self._unknown_for]:
            del self._unknown_since[known]
        if schema_id in self._unknown_since or len(self._unknown_since) >= self._most_unknown:
            return None
        try:
            return self._client.get_schema(schema_id).schema_str
        except SchemaRegistryError as error:
            if error.http_status_code != _NOT_FOUND:
                raise self._failure(error) from error
        except httpx.HTTPError as error:
            raise self._away(error) from error
        self._unknown_since[schema_id] = now
        return None

    def register(self, subject: str, schema: str) -> int:
        """Register an Avro schema under a subject, or find it there; returns its id.

        Raises:
            RequestError: The registry refuses the schema, for example because it breaks the subject's compatibility.
            TransientError: The registry cannot be reached or is in trouble.
            FatalError: The registry refuses the credentials.
        """
        try:
            return self._client.register_schema(subject, Schema(schema, "AVRO"))
        except SchemaRegistryError as error:
            if error.http_status_code in _WRONG:
                raise RequestError(
                    f"the registry refuses the schema of {subject}: {error.error_message}",
                    remedy="see the subject's compatibility, or write predictions as JSON",
                ) from error
            raise self._failure(error) from error
        except httpx.HTTPError as error:
            raise self._away(error) from error

    def close(self) -> None:
        """Close connections. May be called twice."""
        self._client.close()

    def _failure(self, error: SchemaRegistryError) -> MillraceError:
        if error.http_status_code in _REFUSED:
            return FatalError(
                f"the schema registry {self._place} refuses the credentials",
                remedy="put user name and password into source.registry: https://USER:PASSWORD@HOST",
            )
        return TransientError(f"the schema registry {self._place} fails: {error}")

    def _away(self, error: httpx.HTTPError) -> TransientError:
        return TransientError(
            f"the schema registry {self._place} cannot be reached: {error}",
            remedy="start it, or correct source.registry",
        )
