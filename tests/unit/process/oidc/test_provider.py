"""The provider as it is asked over HTTP."""

import json
import ssl
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from millrace.core.errors import RequestError, TransientError
from millrace.process.oidc.provider import Provider, read_keys
from millrace.process.oidc.settings import OidcSettings
from millrace.testing.certificates import Authority
from millrace.testing.identity_provider import IdentityProvider, identity_provider, signing_key
from millrace.testing.running import serving


@pytest.fixture(scope="module")
def provider() -> Iterator[IdentityProvider]:
    with identity_provider({}) as running:
        yield running


def asked(issuer: str, **changes: object) -> Provider:
    settings = {"issuer": issuer, "audience": "a", "roles": {"a": "viewer"}, "allow_private_hosts": True, **changes}
    return Provider(OidcSettings.model_validate(settings))


def test_keys_are_found_by_discovery_or_by_their_address(provider: IdentityProvider) -> None:
    assert asked(provider.url).keys().keys() == {"first"}
    assert asked("http://elsewhere.test", jwks_url=f"{provider.url}/keys").keys().keys() == {"first"}


def test_a_provider_that_speaks_for_another_issuer_is_refused(provider: IdentityProvider) -> None:
    with pytest.raises(RequestError, match="speaks for another issuer"):
        asked(f"{provider.url}/").keys()


def test_private_networks_are_out_of_reach_unless_they_are_meant() -> None:
    settings = {"issuer": "https://127.0.0.1:1", "audience": "a", "roles": {"a": "viewer"}}
    with pytest.raises(RequestError, match="lies in a private network") as refused:
        Provider(OidcSettings.model_validate(settings)).keys()
    assert "oidc.allow_private_hosts" in refused.value.remedy


@pytest.mark.parametrize("host", ["[::1", "provider.test:99999", f"{'x' * 70}.test"])
def test_what_is_no_address_is_said_to_be_none(host: str, provider: IdentityProvider) -> None:
    with pytest.raises(RequestError, match=r"is no address of the web|is unknown"):
        asked(provider.url)._get(f"https://{host}/keys")


def test_a_provider_that_is_away_is_said_to_be() -> None:
    with pytest.raises(TransientError, match="does not answer"):
        asked("http://127.0.0.1:9").keys()


class Answering(BaseHTTPRequestHandler):
    """Answers what its path says."""

    def do_GET(self) -> None:
        status, headers, body = {
            "/broken": (500, {}, b""),
            "/elsewhere": (302, {"location": "/keys"}, b""),
            "/text": (200, {}, b"hello"),
            "/other": (200, {}, b'{"hello": "world"}'),
            "/long": (200, {}, b" " * 300_000),
            "/keys": (200, {}, b'{"keys": []}'),
        }[self.path]
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the library's name
        """Say nothing."""


@pytest.mark.parametrize(
    ("path", "error", "why"),
    [
        ("broken", TransientError, "answers 500"),
        ("elsewhere", TransientError, "answers 302"),
        ("text", RequestError, "is no JSON document"),
        ("other", RequestError, "holds no keys"),
        ("long", RequestError, "more than 262144 bytes"),
    ],
)
def test_what_is_no_key_set_is_refused(path: str, error: type[Exception], why: str) -> None:
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Answering)) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        with pytest.raises(error, match=why):
            asked(url, jwks_url=f"{url}/{path}").keys()


def test_a_provider_is_asked_over_tls_with_the_authority_that_the_settings_name(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    identity, context = authority.issue("provider"), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with serving(server):
        url = f"https://127.0.0.1:{server.server_port}"
        assert asked(url, jwks_url=f"{url}/keys", ca=authority.file).keys() == {}
        with pytest.raises(TransientError, match="does not answer"):
            asked(url, jwks_url=f"{url}/keys").keys()
    with pytest.raises(RequestError, match=r"of oidc\.ca cannot be read"):
        asked(url, ca=tmp_path / "nothing.pem")


def shown(**changes: object) -> dict[str, Any]:
    return {**signing_key("good", "ES256").as_dict(private=False), **changes}


def test_keys_that_sign_no_tokens_are_passed_over() -> None:
    others = [
        shown(kid="to-encrypt", use="enc"),
        shown(kid=7),
        {key: value for key, value in shown().items() if key != "kid"},
        shown(kid="broken", x="!"),
        {"kty": "oct", "kid": "secret", "k": "AAAA", "alg": "HS256"},
        {"kty": "new", "kid": "new"},
        {"kty": "RSA", "kid": "weak", "e": "AQAB", "n": "y" * 86},
        "a text",
    ]
    assert read_keys(json.dumps({"keys": [*others, shown()]}).encode()).keys() == {"good"}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"issuer": "http://provider.test"}, "https://"),
        ({"jwks_url": "http://provider.test/keys"}, "https://"),
        ({"issuer": "provider.test"}, "write https://HOST/PATH"),
        ({"roles": {}}, "at least 1"),
        ({"roles": {"a": "owner"}}, "viewer"),
        ({"algorithms": ["HS256"]}, "RS256"),
        ({"algorithms": ["none"]}, "RS256"),
        ({"algorithms": []}, "at least 1"),
        ({"leeway_secs": 301}, "less than or equal to 300"),
        ({"retry_secs": 400}, "retry_secs"),
        ({"hold_secs": 200}, "refresh_secs"),
    ],
)
def test_settings_that_would_believe_too_much_are_refused(changes: dict[str, object], why: str) -> None:
    settings = {"issuer": "https://provider.test", "audience": "a", "roles": {"a": "viewer"}}
    OidcSettings.model_validate(settings)
    with pytest.raises(ValueError, match=why):
        OidcSettings.model_validate({**settings, **changes})
