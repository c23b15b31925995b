import http.client
import socket
from collections.abc import Iterator
from datetime import timedelta

import pytest

from millrace.core.errors import RequestError
from millrace.process.health import PROMETHEUS_TEXT, Health, HealthServer
from millrace.testing.clock import ManualClock


@pytest.fixture
def health(clock: ManualClock) -> Health:
    return Health(clock=clock, silence=timedelta(seconds=60))


@pytest.fixture
def server(health: Health) -> Iterator[HealthServer]:
    with HealthServer(health, lambda: b"up 1\n") as server:
        yield server


def ask(server: HealthServer, path: str, method: str = "GET") -> tuple[int, str, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers
    finally:
        connection.close()


def test_it_is_live_while_the_loop_turns(server: HealthServer, health: Health, clock: ManualClock) -> None:
    assert ask(server, "/livez")[:2] == (200, "live\n")
    clock.advance(timedelta(seconds=61))
    assert ask(server, "/livez")[:2] == (503, "the main loop has not turned for 61 s\n")
    health.turn()
    assert ask(server, "/livez")[0] == 200


def test_it_says_why_it_is_not_ready(server: HealthServer, health: Health) -> None:
    assert ask(server, "/readyz")[:2] == (503, "starting\n")
    health.ready()
    assert ask(server, "/readyz")[:2] == (200, "ready\n")
    health.not_ready("the broker is away")
    assert ask(server, "/readyz?verbose")[:2] == (503, "the broker is away\n")


def test_metrics_are_what_the_exposition_gives(server: HealthServer) -> None:
    status, body, headers = ask(server, "/metrics")
    assert (status, body, headers["Content-Type"]) == (200, "up 1\n", PROMETHEUS_TEXT)


def test_head_has_the_length_and_no_body(server: HealthServer) -> None:
    status, body, headers = ask(server, "/metrics", "HEAD")
    assert (status, body, headers["Content-Length"]) == (200, "", "5")


def test_other_paths_and_methods_are_refused_and_nothing_is_told(server: HealthServer) -> None:
    assert ask(server, "/../etc/passwd")[0] == 404
    status, _, headers = ask(server, "/metrics", "POST")
    assert status == 501
    assert headers["Server"] == "millrace"


def test_it_listens_on_loopback_and_names_its_port(server: HealthServer) -> None:
    assert server.url == f"http://127.0.0.1:{server.port}"


def test_a_port_in_use_is_named_with_the_remedy(server: HealthServer, health: Health) -> None:
    with pytest.raises(RequestError, match=rf"127\.0\.0\.1:{server.port}: Address already in use \(set MILL"):
        HealthServer(health, bytes, port=server.port)


def test_closing_frees_the_port_even_with_a_connection_open_and_twice(health: Health) -> None:
    server = HealthServer(health, bytes).start()
    with socket.create_connection(("127.0.0.1", server.port)):
        server.close()
        server.close()
        HealthServer(health, bytes, port=server.port).close()
