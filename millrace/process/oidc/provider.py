"""The identity provider as a door asks it: for nothing but its public keys."""

import ssl
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import httpx
import msgspec
from joserfc import jwk
from joserfc.errors import JoseError

from millrace.core.errors import RequestError, TransientError
from millrace.process.addresses import pin
from millrace.process.oidc.settings import OidcSettings

DISCOVERY: Final = "/.well-known/openid-configuration"
"""Of OpenID Connect Discovery 1.0, section 4."""

_LIMIT: Final = timedelta(seconds=10)
"""How long it may take to begin an answer, and the answer itself."""
_MOST_BYTES: Final = 256 * 1024
_SHORTEST_RSA: Final = 2048
_ASYMMETRIC: Final = frozenset({"RSA", "EC", "OKP"})


class Provider:
    """Asks over HTTP, and waits for it.

    Addresses are held against the guard of web addresses each time, the one that the provider names itself included.

    Args:
        settings: Where it is.

    Raises:
        RequestError: The file of its authorities cannot be read.
    """

    def __init__(self, settings: OidcSettings) -> None:
        self._settings = settings
        try:
            self._trust = ssl.create_default_context(cafile=settings.ca)
        except (OSError, ssl.SSLError):
            raise RequestError(
                f"the file {settings.ca} of oidc.ca cannot be read", remedy="name a PEM file of the authorities"
            ) from None

    def keys(self) -> Mapping[str, jwk.Key]:
        """The keys that it signs with now, by their ids.

        Raises:
            RequestError: It is not what the settings say, or lies where it may not be asked.
            TransientError: It does not answer.
        """
        return read_keys(self._get(self._settings.jwks_url or self._discovered()))

    def _discovered(self) -> str:
        address = self._settings.issuer.rstrip("/") + DISCOVERY
        found = _document(self._get(address), address)
        if found.get("issuer") != self._settings.issuer:
            raise RequestError(
                f"{address} speaks for another issuer than {self._settings.issuer}",
                remedy="write oidc.issuer exactly as the provider does",
            )
        if not isinstance(named := found.get("jwks_uri"), str):
            raise RequestError(f"{address} names no jwks_uri", remedy="set oidc.jwks_url")
        if not named.startswith("https://") and not self._settings.allow_private_hosts:
            raise RequestError(f"{address} names keys that are shown in clear", remedy="the provider must use https://")
        return named

    def _get(self, address: str) -> bytes:
        pinned, host, name = pin(
            address, allow_private=self._settings.allow_private_hosts, permission="oidc.allow_private_hosts"
        )
        content, until = bytearray(), time.monotonic() + _LIMIT.total_seconds()
        headers = {**host, "Accept-Encoding": "identity"}
        try:
            with (
                httpx.Client(verify=self._trust, timeout=_LIMIT.total_seconds(), trust_env=False) as client,
                client.stream("GET", pinned, headers=headers, extensions={"sni_hostname": name}) as answer,
            ):
                if answer.status_code != httpx.codes.OK:
                    raise TransientError(
                        f"the identity provider answers {answer.status_code} on {address}",
                        remedy="check the settings oidc.issuer and oidc.jwks_url",
                    )
                for piece in answer.iter_raw():
                    content += piece
                    if time.monotonic() > until:
                        raise TransientError(f"the identity provider answers too slowly on {address}")
                    if len(content) > _MOST_BYTES:
                        raise RequestError(
                            f"{address} answers more than {_MOST_BYTES} bytes", remedy="check that it shows keys"
                        )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TransientError(
                f"the identity provider does not answer on {address}: {type(error).__name__}",
                remedy="check that it runs, and oidc.ca",
            ) from None
        return bytes(content)


def read_keys(content: bytes) -> Mapping[str, jwk.Key]:
    """The keys of a JSON Web Key Set that tokens may be signed with; others in it are passed over.

    Raises:
        RequestError: It is none.
    """
    found = _document(content, "what the identity provider shows as its keys").get("keys")
    if not isinstance(found, list):
        raise RequestError("what the identity provider shows holds no keys", remedy="check the setting oidc.jwks_url")
    keys = {each["kid"]: _read_key(each) for each in found if isinstance(each, dict) and _is_for_tokens(each)}
    return {kid: key for kid, key in keys.items() if key is not None}


def _is_for_tokens(described: Mapping[str, Any]) -> bool:
    has_id = isinstance(described.get("kid"), str)
    return has_id and described.get("kty") in _ASYMMETRIC and described.get("use", "sig") == "sig"


def _read_key(described: dict[str, Any]) -> jwk.Key | None:
    try:
        key = jwk.import_key(described)
        if isinstance(key, jwk.RSAKey) and key.public_key.key_size < _SHORTEST_RSA:
            return None
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    return key


def _document(content: bytes, place: str) -> Mapping[str, Any]:
    try:
        return msgspec.json.decode(content, type=dict[str, Any])
    except msgspec.DecodeError:
        raise RequestError(f"{place} is no JSON document", remedy="check oidc.issuer and oidc.jwks_url") from None
