"""Redis streams: `redis://host:6379/0#days`. An entry has one field, `row`, with a JSON object."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final, cast

import orjson
from pydantic import ValidationError

from millrace.client.copying.ports import Connector, End, Page, Refused, Row, State
from millrace.core.errors import FatalError, RequestError
from millrace.process.settings import RedisSettings
from millrace.store.redis_client import connect, reaching, watch_lost

_ROW: Final = b"row"


def _opened(uri: str, credentials: Any) -> tuple[RedisSettings, str]:  # noqa: ANN401 -- as they were written
    address, _, stream = uri.partition("#")
    if not stream:
        raise RequestError("the URI of a Redis names no stream", remedy="add #STREAM to it")
    try:
        return RedisSettings(url=address, **credentials), stream
    except ValidationError as error:
        fields = ", ".join(str(wrong["loc"][0]) for wrong in error.errors())
        raise RequestError(f"the Redis of the stream {stream!r} cannot be used: check {fields}") from None


class RedisSource:
    """The entries of a stream. The state is the id of the last one."""

    def __init__(self, end: End) -> None:
        self._settings, self._stream = _opened(end.uri, end.options.source_credentials)
        self._client: Any = connect(self._settings)
        self._page_rows = end.options.page_rows

    def pages(self, after: State | None) -> Iterator[Page]:
        """See `Source`."""
        last = str(after["after"]) if after else "0-0"
        while True:
            with reaching(self._settings, f"reading the stream {self._stream}"):
                found = self._client.xrange(self._stream, min=f"({last}", count=self._page_rows)
            if not found:
                return
            last = found[-1][0].decode()
            yield self._page(found, {"after": last})

    def between(self, after: State | None, until: State) -> Page:
        """See `RepeatingSource`."""
        first = f"({after['after']}" if after else "-"
        with reaching(self._settings, f"reading the stream {self._stream}"):
            return self._page(self._client.xrange(self._stream, min=first, max=until["after"]), until)

    def close(self) -> None:
        """See `Source`."""
        self._client.close()

    def _page(self, found: Sequence[tuple[bytes, dict[bytes, bytes]]], state: State) -> Page:
        rows, refused = [], []
        for number, (entry, fields) in enumerate(found):
            row = _row(fields)
            if row is None:
                place = f"{self._stream} {entry.decode()}"
                refused.append(Refused(place, number, "its field `row` is no JSON object", str(fields)[:1_000]))
            else:
                rows.append(row)
        return Page(rows, state, refused)


def _row(fields: dict[bytes, bytes]) -> Row | None:
    try:
        row = orjson.loads(fields.get(_ROW, b""))
    except orjson.JSONDecodeError:
        return None
    return cast("Row", row) if isinstance(row, dict) else None


class RedisSink:
    """A stream, and a key with the source's state, written in one MULTI that another writer makes fail."""

    def __init__(self, end: End) -> None:
        self._settings, self._stream = _opened(end.uri, end.options.sink_credentials)
        self._client: Any = connect(self._settings)
        self._name = end.name
        self._key = f"{self._settings.namespace}:copies:{end.name}"
        with reaching(self._settings, f"reading {self._key}"):
            self._written: Any = self._client.get(self._key)

    def position(self) -> State | None:
        """See `Sink`."""
        state: State | None = json.loads(self._written) if self._written else None
        return state

    def write(self, page: Page) -> None:
        """See `Sink`."""
        text = json.dumps(page.state, default=str).encode()
        with (
            reaching(self._settings, f"writing the stream {self._stream}"),
            watch_lost(f"another process copies as {self._name!r}, or the connection broke"),
            self._client.pipeline() as pipeline,
        ):
            pipeline.watch(self._key)
            if pipeline.get(self._key) != self._written:
                raise FatalError(f"another process copies as {self._name!r}", remedy="run one of them")
            pipeline.multi()
            for row in page.rows:
                pipeline.xadd(self._stream, {_ROW: orjson.dumps(row, default=str)})
            pipeline.set(self._key, text)
            pipeline.execute()
        self._written = text

    def close(self) -> None:
        """See `Sink`."""
        self._client.close()


REDIS: Final = Connector(RedisSource, RedisSink)
