"""HAProxy in front of the workers of one machine: its configuration, and its runtime socket.

The configuration has a place for each worker, closed at first. A worker opens its place when it serves, and closes it
for new requests before it stops; what is being answered is answered. So a worker that is replaced loses no request.

Commands: https://docs.haproxy.org/2.6/management.html#9.3
"""

import csv
import socket
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from millrace.core.errors import RequestError, TransientError
from millrace.process.tls import ServerTls
from millrace_gateway.settings import GatewaySettings

_REST: Final = "rest"
_GRPC: Final = "grpc"
_PATIENCE_SECS: Final = 2.0

_CONFIGURATION: Final = """\
# Made by `millrace-gateway --haproxy`. Start it with: haproxy -W -f THIS_FILE
global
    stats socket {socket} mode 600 level admin

defaults
    mode http
    timeout connect 1s
    timeout client 75s
    timeout server 75s
    timeout tunnel 1h
    timeout http-request {head_secs}s
    # Slow is not dead: where nobody listens any more, a check is refused at once. Without this one takes no longer than
    # `inter`, and workers of a busy machine are all taken for dead, each request with a 503.
    timeout check 5s
    # A worker that dies between two checks has taken nothing in yet: another one is asked.
    option redispatch 1
    retries 3
    retry-on conn-failure empty-response

frontend rest
    bind {rest.host}:{rest.port}{tls}
    default_backend rest

backend rest
    balance leastconn
    option httpchk GET /v2/health/live
    # By its address a client is known that sends no key.
    option forwardfor
    # One that dies with a request in hand may have carried it out. To ask again whatever answers alike harms nobody;
    # for that a request is held until it is there, as far as a buffer holds it.
    option http-buffer-request
    http-request disable-l7-retry unless {{ method GET HEAD }} or {{ path_end /infer }}
    server-template w 1-{workers} 127.0.0.1:1 check inter 500ms fall 2 rise 1 disabled

frontend grpc
    bind {grpc.host}:{grpc.port} {grpc_form}
    default_backend grpc

backend grpc
    balance leastconn
    http-request disable-l7-retry unless {{ path_end /ModelInfer }}
    server-template w 1-{workers} 127.0.0.1:1 proto h2 check inter 500ms fall 2 rise 1 disabled
"""


def configuration(options: GatewaySettings) -> str:
    """HAProxy's configuration: it listens where the environment says that the gateway does.

    Raises:
        RequestError: The environment names no runtime socket, or a certificate that HAProxy cannot read.
    """
    if options.haproxy.socket is None:
        raise RequestError(
            "no runtime socket is named", remedy="set MILLRACE_GATEWAY__HAPROXY__SOCKET to a path that may be created"
        )
    tls = _certificate(options.tls)
    return _CONFIGURATION.format(
        tls=tls,
        grpc_form=f"{tls.lstrip()} alpn h2" if tls else "proto h2",
        socket=options.haproxy.socket,
        rest=options.rest,
        grpc=options.grpc,
        workers=options.haproxy.workers,
        head_secs=round(options.limits.head_secs),
    )


def _certificate(tls: ServerTls | None) -> str:
    """What a `bind` says of the certificate; nothing where there is none."""
    if tls is None:
        return ""
    if tls.key is not None:
        raise RequestError(
            "HAProxy reads a certificate and its key from one file",
            remedy="write both into the file of MILLRACE_GATEWAY__TLS__CERTIFICATE, and no MILLRACE_GATEWAY__TLS__KEY",
        )
    tls.context()  # What is wrong with it is said here, in one line.
    clients = f" ca-file {tls.client_ca} verify required" if tls.client_ca else ""
    return f" ssl crt {tls.certificate} ssl-min-ver TLSv1.2{clients}"


@dataclass(frozen=True, slots=True)
class HaproxyPlace:
    """The place of one worker. Every method blocks for milliseconds.

    Each raises TransientError when the socket does not answer, and RequestError when HAProxy knows no such place.

    Attributes:
        socket: HAProxy's runtime socket.
        slot: Of the worker, from 0.
    """

    socket: Path
    slot: int

    def open(self, *, rest_port: int, grpc_port: int) -> None:
        """Send requests to this worker from now on."""
        for backend, port in ((_REST, rest_port), (_GRPC, grpc_port)):
            self._command(backend, f"addr 127.0.0.1 port {port}", answers_text=True)
            self._command(backend, "state ready")

    def close(self) -> None:
        """Send no new requests to this worker."""
        for backend in (_REST, _GRPC):
            self._command(backend, "state drain")

    def requests(self) -> int:
        """How many requests this worker has in hand, as HAProxy counts them."""
        lines = self._ask("show stat").lstrip("# ").splitlines()
        rows = csv.DictReader(lines)
        return sum(int(row["scur"]) for row in rows if row["svname"] == self._name and row["pxname"] in {_REST, _GRPC})

    @property
    def _name(self) -> str:
        return f"w{self.slot + 1}"

    def _command(self, backend: str, what: str, *, answers_text: bool = False) -> None:
        answer = self._ask(f"set server {backend}/{self._name} {what}").strip()
        if "No such" in answer or (answer and not answers_text):
            raise RequestError(
                f"HAProxy has no place {backend}/{self._name}: {answer}",
                remedy="make its configuration again with a larger MILLRACE_GATEWAY__HAPROXY__WORKERS",
            )

    def _ask(self, command: str) -> str:
        try:
            with closing(socket.socket(socket.AF_UNIX)) as connection:
                connection.settimeout(_PATIENCE_SECS)
                connection.connect(str(self.socket))
                connection.sendall(command.encode() + b"\n")
                pieces = []
                while piece := connection.recv(65_536):
                    pieces.append(piece)
        except OSError as error:
            raise TransientError(
                f"HAProxy does not answer on {self.socket}: {error}",
                remedy="start it first: millrace-gateway --haproxy > haproxy.cfg && haproxy -W -f haproxy.cfg",
            ) from None
        return b"".join(pieces).decode(errors="replace")
