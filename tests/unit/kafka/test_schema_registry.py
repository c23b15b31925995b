import json
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from millrace.core.errors import FatalError, RequestError, TransientError
from millrace.kafka.schema_registry import SchemaRegistry
from millrace.testing.clock import ManualClock


class Registry(ThreadingHTTPServer):
    """As much of a registry as the real client needs."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.schemas: dict[int, str] = {7: '"string"'}
        self.status: int | None = None
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://user:secret@127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        schema_id = int(self.path.partition("?")[0].rpartition("/")[2])
        if self.server.status:
            self.answer(self.server.status, {"error_code": self.server.status, "message": "no"})
        elif schema_id in self.server.schemas:
            self.answer(200, {"schema": self.server.schemas[schema_id]})
        else:
            self.answer(404, {"error_code": 40403, "message": "Schema not found"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.status:
            self.answer(self.server.status, {"error_code": self.server.status, "message": "incompatible"})
            return
        self.server.schemas[8] = body["schema"]
        self.answer(200, {"id": 8, "version": 1, "schema": body["schema"], "subject": "s"})

    def answer(self, status: int, document: dict[str, Any]) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Registry]:
    with Registry() as running:
        thread = Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def registry(server: Registry, clock: ManualClock) -> Iterator[SchemaRegistry]:
    made = SchemaRegistry(server.url, clock=clock, unknown_for=timedelta(seconds=10), most_unknown=2)
    yield made
    made.close()


def test_a_schema_is_asked_for_once(server: Registry, registry: SchemaRegistry) -> None:
    assert [registry.schema(7) for _ in range(3)] == ['"string"'] * 3
    assert len(server.asked) == 1


def test_an_unknown_id_is_asked_for_again_after_a_while(
    server: Registry, registry: SchemaRegistry, clock: ManualClock
) -> None:
    assert registry.schema(9) is None
    server.schemas[9] = '"long"'
    assert registry.schema(9) is None
    clock.advance(timedelta(seconds=10))
    assert registry.schema(9) == '"long"'


def test_invented_ids_cannot_make_it_ask_without_end(
    server: Registry, registry: SchemaRegistry, clock: ManualClock
) -> None:
    assert [registry.schema(schema_id) for schema_id in range(100, 200)] == [None] * 100
    assert len(server.asked) == 2
    clock.advance(timedelta(seconds=10))
    assert registry.schema(7) == '"string"'


def test_a_registry_in_trouble_is_transient(server: Registry, registry: SchemaRegistry) -> None:
    server.status = 500
    with pytest.raises(TransientError, match="fails"):
        registry.schema(7)
    server.status = None
    assert registry.schema(7) == '"string"'


def test_a_registry_that_is_away_is_transient_and_its_password_stays_secret(clock: ManualClock) -> None:
    registry = SchemaRegistry("http://user:secret@127.0.0.1:1", clock=clock)
    with pytest.raises(TransientError, match=r"127\.0\.0\.1:1 cannot be reached") as caught:
        registry.schema(7)
    assert "secret" not in str(caught.value)
    with pytest.raises(TransientError, match="cannot be reached"):
        registry.register("s", '"string"')
    registry.close()


def test_refused_credentials_are_fatal(server: Registry, registry: SchemaRegistry) -> None:
    server.status = 401
    with pytest.raises(FatalError, match="refuses the credentials"):
        registry.schema(7)


def test_registering(server: Registry, registry: SchemaRegistry) -> None:
    assert registry.register("rain.predictions-value", '"string"') == 8
    assert registry.schema(8) is not None
    server.status = 409
    with pytest.raises(RequestError, match="refuses the schema of other"):
        registry.register("other", '"long"')
