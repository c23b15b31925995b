"""What a process says about itself over HTTP: `/livez`, `/readyz` and `/metrics`.

A supervisor restarts what is not live and routes nothing to what is not ready; Prometheus reads the metrics. The server
is the standard library's, in threads of its own, so that it answers while a model computes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Final, Self

from millrace.core.clock import Clock
from millrace.core.errors import RequestError

PROMETHEUS_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
_PLAIN_TEXT: Final = "text/plain; charset=utf-8"
_SLOW_CLIENT_SECONDS: Final = 5


@dataclass(frozen=True, slots=True)
class Condition:
    """Whether something holds, and why."""

    holds: bool
    reason: str


class Health:
    """What the main loop says about itself; read by the server's threads.

    Live means that the loop turned lately, whatever it is waiting for. Ready means that it does its work.

    Args:
        clock: Tells the time.
        silence: Time without a turn after which the process counts as stuck.
    """

    def __init__(self, *, clock: Clock, silence: timedelta = timedelta(seconds=60)) -> None:
        self._clock = clock
        self._silence = silence.total_seconds()
        self._last_turn = clock.monotonic()
        self._readiness = Condition(holds=False, reason="starting")

    def turn(self) -> None:
        """The main loop came round. Cheap: once a turn."""
        self._last_turn = self._clock.monotonic()

    def ready(self) -> None:
        """The process does its work."""
        self._readiness = Condition(holds=True, reason="ready")

    def not_ready(self, reason: str) -> None:
        """The process does not do its work, and why: one line for a person."""
        self._readiness = Condition(holds=False, reason=reason)

    @property
    def readiness(self) -> Condition:
        """What was said last."""
        return self._readiness

    @property
    def liveness(self) -> Condition:
        """Whether the main loop turned lately."""
        quiet = self._clock.monotonic() - self._last_turn
        if quiet <= self._silence:
            return Condition(holds=True, reason="live")
        return Condition(holds=False, reason=f"the main loop has not turned for {quiet:.0f} s")


class HealthServer:
    """Serves a process's health and metrics, from `start` to `close`. Also a context manager.

    Args:
        health: What to answer on `/livez` and `/readyz`.
        exposition: What to answer on `/metrics`, in Prometheus' text format.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one, see `port`.

    Raises:
        RequestError: The address is in use, or not this machine's.
    """

    def __init__(
        self, health: Health, exposition: Callable[[], bytes], *, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self._host = host
        handler = type("_BoundHandler", (_Handler,), {"health": health, "exposition": staticmethod(exposition)})
        try:
            self._server = _Server((host, port), handler)
        except OSError as error:
            raise RequestError(
                f"health cannot be served on {host}:{port}: {error.strerror}",
                remedy="set MILLRACE_HEALTH__PORT to a free port, or to 0 for any",
            ) from error
        # The interval is how long `close` may take; the default of half a second would be felt at every stop.
        self._thread = Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.1},
            name="millrace-health",
            daemon=True,
        )

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Where the paths are found."""
        return f"http://{self._host}:{self.port}"

    def start(self) -> Self:
        """Answer from now on."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop answering and free the port. May be called twice, and without `start`."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # an idle connection must not delay the end of the process

    def handle_error(self, request: object, client_address: object) -> None:
        """Silence: a client that hangs up is no event of this process."""


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection. The class is bound to what it answers by a subclass."""

    health: Health
    exposition: Callable[[], bytes]
    protocol_version = "HTTP/1.1"
    timeout = _SLOW_CLIENT_SECONDS

    def do_GET(self) -> None:
        match self.path.partition("?")[0]:
            case "/livez":
                self._answer_condition(self.health.liveness)
            case "/readyz":
                self._answer_condition(self.health.readiness)
            case "/metrics":
                self._answer(HTTPStatus.OK, self.exposition(), PROMETHEUS_TEXT)
            case _:
                self._answer(HTTPStatus.NOT_FOUND, b"there is /livez, /readyz and /metrics\n", _PLAIN_TEXT)

    do_HEAD = do_GET  # noqa: N815 -- the base class looks for this name

    def _answer_condition(self, condition: Condition) -> None:
        status = HTTPStatus.OK if condition.holds else HTTPStatus.SERVICE_UNAVAILABLE
        self._answer(status, f"{condition.reason}\n".encode(), _PLAIN_TEXT)

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        return "millrace"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class's name
        """Silence: probes come every few seconds."""
