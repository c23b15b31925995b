"""Addresses of the web that people name: what lies behind the firewall is not reached with them.

Names are resolved here, private addresses are refused, and the connection goes to the number that was checked: a name
that is resolved again may then mean something else.
"""

import ipaddress
import socket
from urllib.parse import urlsplit

from millrace.core.errors import RequestError


def pin(address: str, *, allow_private: bool, permission: str) -> tuple[str, dict[str, str], str]:
    """The address with its host's number, the Host header, and the host's name for TLS.

    Args:
        address: What somebody named.
        allow_private: Whether it may lie in a private network.
        permission: What allows that, as people write it.

    Raises:
        RequestError: It is no address of the web, its host is unknown, or it lies in a private network.
    """
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        raise _no_address(address) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise _no_address(address)
    try:
        found = socket.getaddrinfo(parts.hostname, port or parts.scheme, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no name"
        raise RequestError(f"{parts.hostname} is unknown: {why}", remedy="check the address") from None
    numbers = [ipaddress.ip_address(str(each[4][0])) for each in found]
    if not allow_private and not all(number.is_global for number in numbers):
        raise RequestError(
            f"{parts.hostname} lies in a private network", remedy=f"if that is meant, allow it: {permission}"
        )
    host = f"[{numbers[0]}]" if numbers[0].version == 6 else str(numbers[0])
    netloc = host if port is None else f"{host}:{port}"
    shown = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=netloc).geturl(), {"Host": shown}, parts.hostname


def _no_address(address: str) -> RequestError:
    return RequestError(f"{address} is no address of the web", remedy="write http:// or https://")
