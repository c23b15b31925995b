"""Addresses of the web that people name: what lies behind the firewall is not reached with them.

Names are resolved here, private addresses are refused, and the connection goes to the number that was checked: a name
that is resolved again may then mean something else.
"""

import ipaddress
import socket
from collections.abc import Collection
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import SplitResult, urlsplit

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
    parts = _parts(address)
    numbers = _numbers(parts)
    if not allow_private and not all(number.is_global for number in numbers):
        raise RequestError(
            f"{parts.hostname} lies in a private network", remedy=f"if that is meant, allow it: {permission}"
        )
    host = f"[{numbers[0]}]" if numbers[0].version == 6 else str(numbers[0])
    netloc = host if parts.port is None else f"{host}:{parts.port}"
    shown = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=netloc).geturl(), {"Host": shown}, str(parts.hostname)


def check_service(address: str, *, known: Collection[str], permission: str) -> None:
    """Hold the address of a service against those that may be named. Such services lie in private networks.

    Args:
        address: What somebody named.
        known: The addresses that may be named: scheme, host and port count. Where there are none, every one may, but
            for those of the network's own machinery, such as a cloud's metadata.
        permission: What the addresses are in, as people write it.

    Raises:
        RequestError: It is no address of the web, or may not be named.
    """
    parts = _parts(address)
    if known:
        if _origin(parts) not in {_origin(_parts(each)) for each in known}:
            raise RequestError(f"{parts.hostname} is not known here", remedy=f"have its address added to {permission}")
        return
    with suppress(_UnknownHostError):  # which others may know
        if any(map(_is_machinery, _numbers(parts))):
            raise RequestError(f"{parts.hostname} is no service", remedy="name the address of one")


class _UnknownHostError(RequestError):
    """This machine knows no number of it."""


def _is_machinery(number: IPv4Address | IPv6Address) -> bool:
    meant = getattr(number, "ipv4_mapped", None) or number
    return bool(meant.is_link_local or meant.is_multicast or meant.is_unspecified)


def _parts(address: str) -> SplitResult:
    try:
        parts = urlsplit(address)
        _ = parts.port  # which is looked at only now
    except ValueError:
        raise _no_address(address) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise _no_address(address)
    return parts


def _numbers(parts: SplitResult) -> list[IPv4Address | IPv6Address]:
    """What the host's name stands for now."""
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or parts.scheme, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no name"
        raise _UnknownHostError(f"{parts.hostname} is unknown: {why}", remedy="check the address") from None
    return [ipaddress.ip_address(str(each[4][0])) for each in found]


def _origin(parts: SplitResult) -> tuple[str, str | None, int]:
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}[parts.scheme]


def _no_address(address: str) -> RequestError:
    return RequestError(f"{address} is no address of the web", remedy="write http:// or https://")
