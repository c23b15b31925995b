"""Ports for the local broker: free, stable over restarts, and out of the way of outgoing connections."""

import socket
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from typing import Final

import psutil

from millrace.core.errors import RequestError
from millrace.kafka.server import HOST, Ports

# Below the ranges from which operating systems take ports for outgoing connections. A port out of those could be
# lent to a client while the broker restarts; a client that retries could even connect to itself.
_FIRST: Final = 20_000
_COUNT: Final = 10_000


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of this machine now."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as server:
        # As the broker does: connections of the one before may linger for a minute and do no harm.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((HOST, port))
        except OSError:
            return False
    return True


def require_free(port: int) -> None:
    """Check a port that somebody chose.

    Raises:
        RequestError: It is taken; the error names the process that holds it, where that can be seen.
    """
    if not is_free(port):
        raise RequestError(f"port {port} is in use{_holder(port)}", remedy="stop that process, or choose another port")


def choose_ports(seed: int, *, client: int | None = None, wanted: Ports | None = None) -> Ports:
    """Three free ports.

    Args:
        seed: Where the search begins; the same seed finds the same ports if they are free.
        client: The port for clients if it is chosen already.
        wanted: Ports to keep, each if it is free.

    Raises:
        RequestError: There are no free ports.
    """
    candidates = _free_ports(seed)
    try:
        if wanted is None:
            return Ports(client or next(candidates), next(candidates), next(candidates))
        kept = (
            port if is_free(port) else next(candidates) for port in (wanted.client, wanted.internal, wanted.controller)
        )
        return Ports(*kept)
    except StopIteration:
        raise RequestError(
            f"no free port between {_FIRST} and {_FIRST + _COUNT - 1}", remedy="stop some servers"
        ) from None


def free_ports(count: int, *, seed: int) -> tuple[int, ...]:
    """Free ports for further listeners; the same seed finds the same ones if they are free."""
    return tuple(islice(_free_ports(seed), count))


def _free_ports(seed: int) -> Iterator[int]:
    return filter(is_free, (_FIRST + (seed + step) % _COUNT for step in range(_COUNT)))


def _holder(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,) and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        pass  # Other users' processes may be hidden from us.
    return ""
