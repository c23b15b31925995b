"""Which addresses of the web lead behind the firewall, however they are written."""

import socket
from typing import Any

import pytest

from millrace.core.errors import RequestError
from millrace.process.addresses import check_service, pin

PRIVATE = (
    "http://127.0.0.1/",
    "http://localhost:9008/v1/nodes",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0177.0.0.1/",
    "http://127.1/",
    "http://0.0.0.0/",
    "http://10.0.0.7/",
    "http://172.16.3.1/",
    "http://192.168.1.1/",
    "http://100.64.0.1/",
    "http://169.254.169.254/latest/meta-data",
    "http://[::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[fe80::1]/",
    "http://[fd00::1]/",
    "http://[::]/",
    "https://somebody:secret@127.0.0.1/",
    "https://good.example@127.0.0.1/",
)


@pytest.mark.parametrize("address", PRIVATE)
def test_a_private_network_is_refused_and_can_be_allowed(address: str) -> None:
    with pytest.raises(RequestError, match="lies in a private network") as refused:
        pin(address, allow_private=False, permission="the permission")
    assert "the permission" in (refused.value.remedy or "")
    assert "secret" not in str(refused.value)
    assert pin(address, allow_private=True, permission="")[0].startswith("http")


@pytest.mark.parametrize(
    "address", ["", "x", "file:///etc/passwd", "gopher://10.0.0.1/", "ftp://a/", "http://", "http://a:x/", "//a/b"]
)
def test_what_is_no_address_of_the_web_is_refused(address: str) -> None:
    with pytest.raises(RequestError, match="no address of the web"):
        pin(address, allow_private=True, permission="")


def answering(monkeypatch: pytest.MonkeyPatch, *numbers: str) -> None:
    """Let every name have these numbers."""

    def getaddrinfo(host: str, port: object, **_: Any) -> list[Any]:  # noqa: ANN401 -- as the library's
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (number, 0)) for number in numbers]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_a_name_is_refused_where_one_of_its_numbers_is_private(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, "93.184.216.34", "10.0.0.1")
    with pytest.raises(RequestError, match=r"both\.example lies in a private network"):
        pin("https://both.example/", allow_private=False, permission="")


def test_the_connection_goes_to_the_number_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, "93.184.216.34")
    assert pin("https://kay:x@good.example:8443/a?b=c", allow_private=False, permission="") == (
        "https://93.184.216.34:8443/a?b=c",
        {"Host": "good.example:8443"},
        "good.example",
    )


REGISTRIES = ("https://registry.example", "http://10.0.0.7:8081")


@pytest.mark.parametrize(
    "address", ["https://registry.example/x", "https://kay:x@registry.example:443", "http://10.0.0.7:8081"]
)
def test_a_service_that_is_known_may_be_named(address: str) -> None:
    check_service(address, known=REGISTRIES, permission="")


@pytest.mark.parametrize(
    "address",
    [
        "http://registry.example",
        "https://registry.example:8443",
        "https://registry.example@elsewhere.example",
        "http://10.0.0.7",
        "http://10.0.0.8:8081",
        "http://127.0.0.1:8081",
    ],
)
def test_where_services_are_known_no_other_may_be_named(address: str) -> None:
    with pytest.raises(RequestError, match="is not known here") as refused:
        check_service(address, known=REGISTRIES, permission="the setting")
    assert "the setting" in (refused.value.remedy or "")


@pytest.mark.parametrize(
    "address",
    [
        "http://169.254.169.254",
        "http://[fe80::1]",
        "http://0.0.0.0",
        "http://224.0.0.1",
        "http://[::ffff:169.254.169.254]",
    ],
)
def test_the_network_s_own_machinery_is_no_service(address: str) -> None:
    with pytest.raises(RequestError, match="is no service"):
        check_service(address, known=(), permission="")


def test_where_no_service_is_known_one_in_a_private_network_may_be_named() -> None:
    for address in ("http://127.0.0.1:8081", "http://10.0.0.7:8081", "http://only-containers-know.invalid"):
        check_service(address, known=(), permission="")
