"""As much of a schema registry as its real client needs to find and register schemas."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


class RegistryServer(ThreadingHTTPServer):
    """A registry on loopback.

    Attributes:
        schemas: Schema texts by id; registering takes the next free id, or the one that the text has.
        status: Answer everything with this status, for a registry in trouble; None to work.
        asked: The paths of all questions so far.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.schemas: dict[int, str] = {}
        self.status: int | None = None
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        """Where it is, with a user name and a password in it."""
        return f"http://user:secret@127.0.0.1:{self.server_address[1]}"

    def register(self, schema: str) -> int:
        """The id of a schema, a new one if it was not there."""
        known = next((number for number, text in self.schemas.items() if text == schema), None)
        number = known or max(self.schemas, default=0) + 1
        self.schemas[number] = schema
        return number


@contextmanager
def running_registry() -> Iterator[RegistryServer]:
    """A registry that answers while inside."""
    with RegistryServer() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: RegistryServer

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        schema_id = int(self.path.partition("?")[0].rpartition("/")[2])
        if self.server.status:
            self._answer(self.server.status, {"error_code": self.server.status, "message": "no"})
        elif schema_id in self.server.schemas:
            self._answer(200, {"schema": self.server.schemas[schema_id]})
        else:
            self._answer(404, {"error_code": 40403, "message": "Schema not found"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.status:
            self._answer(self.server.status, {"error_code": self.server.status, "message": "incompatible"})
            return
        number = self.server.register(body["schema"])
        self._answer(200, {"id": number, "version": 1, "schema": body["schema"], "subject": "s"})

    def _answer(self, status: int, document: dict[str, Any]) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base's name
        """Say nothing."""
