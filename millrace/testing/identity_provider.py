"""An identity provider for tests: gives tokens by client credentials, and shows the keys that it signs them with."""

import base64
import hmac
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, Self
from urllib.parse import parse_qs

from joserfc import jwk, jws

from millrace.testing.running import serving

ISSUER: Final = "https://identity.test"
AUDIENCE: Final = "millrace"


@dataclass(slots=True)
class IdentityProvider:
    """What runs at `url`.

    Attributes:
        url: Of the server.
        clients: Secrets by client.
        lives: Seconds for which the tokens of a client hold, where that is not an hour; negative for one whose tokens
            have expired.
        given: The tokens that clients were given.
        asked: How often the keys were looked at.
        signing: The keys, by their ids; who takes one away revokes what it has signed.
    """

    url: str
    clients: Mapping[str, str]
    lives: Mapping[str, int]
    given: list[str] = field(default_factory=list)
    asked: int = 0
    signing: dict[str, jwk.Key] = field(default_factory=lambda: {"first": signing_key("first")})

    @property
    def answered(self) -> int:
        """How many tokens were given."""
        return len(self.given)

    @property
    def token_url(self) -> str:
        """The token endpoint."""
        return f"{self.url}/token"

    @property
    def keys(self) -> str:
        """The public keys, as a JSON Web Key Set."""
        return json.dumps({"keys": [{**key.as_dict(private=False), "use": "sig"} for key in self.signing.values()]})

    @property
    def discovery(self) -> str:
        """What OpenID Connect has it say of itself, as the issuer `url`."""
        return json.dumps({"issuer": self.url, "token_endpoint": self.token_url, "jwks_uri": f"{self.url}/keys"})

    def token(self, subject: str, *, by: jwk.Key | None = None, **claims: object) -> str:
        """A token, signed with the first key unless by another one; `claims` have the last word."""
        return signed(self.claims(subject, **claims), by or self.signing["first"])

    def claims(self, subject: str, **claims: object) -> Mapping[str, object]:
        """The claims of such a token."""
        now = int(time.time())
        life = self.lives.get(subject, 3600)
        return {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "iat": now - 7200, "exp": now + life, **claims}

    def grant(self, authorization: str, form: Mapping[str, list[str]]) -> str | None:
        """The body of the answer to a client with these credentials; None where they are wrong."""
        client, _, secret = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        if self.clients.get(client) != secret or form.get("grant_type") != ["client_credentials"]:
            return None
        self.given.append(self.token(client))
        life = max(0, self.lives.get(client, 3600))
        return json.dumps({"access_token": self.given[-1], "token_type": "Bearer", "expires_in": life})


def signing_key(kid: str, algorithm: str = "RS256") -> jwk.Key:
    """A private key of this id, for an algorithm of RSA or of elliptic curves."""
    parameters: jwk.KeyParameters = {"kid": kid, "alg": algorithm}
    if algorithm.startswith("ES"):
        return jwk.ECKey.generate_key("P-256", parameters=parameters)
    if algorithm.startswith("Ed"):
        return jwk.OKPKey.generate_key("Ed25519", parameters=parameters)
    return jwk.RSAKey.generate_key(2048, parameters=parameters)


def signed(claims: Mapping[str, object], key: jwk.Key, **header: object) -> str:
    """A token of these claims; `header` has the last word, and nothing keeps it from being wrong."""
    heads = {"typ": "JWT", "alg": key.alg, "kid": key.kid, **header}
    text = f"{token_part({name: value for name, value in heads.items() if value is not None})}.{token_part(claims)}"
    signature = jws.JWSRegistry.algorithms[str(heads["alg"])].sign(text.encode(), key)
    return f"{text}.{_base64(signature)}"


class ShownKeys(dict[str, jwk.Key]):
    """The public halves of keys, by their ids, as a door knows them. See `millrace.process.oidc.tokens.KeysById`."""

    find = dict.get

    @classmethod
    def of(cls, *keys: jwk.Key) -> Self:
        """What is known of these."""
        return cls({str(key.kid): jwk.import_key(dict(key.as_dict(private=False))) for key in keys})


def with_public_key_as_secret(claims: Mapping[str, object], key: jwk.Key) -> str:
    """A token of the best-known attack: HMAC, with the public key, which everybody has, for the secret."""
    text = f"{token_part({'alg': 'HS256', 'kid': key.kid})}.{token_part(claims)}"
    return f"{text}.{_base64(hmac.digest(public_pem(key), text.encode(), 'sha256'))}"


def public_pem(key: jwk.Key) -> bytes:
    """The public half of a key of RSA or of elliptic curves, as PEM."""
    if isinstance(key, jwk.OctKey):
        raise TypeError("a secret has no public half")
    return key.as_pem(private=False)


def token_part(document: object) -> str:
    """A header or claims, as a token has them."""
    return _base64(json.dumps(document).encode())


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


@contextmanager
def identity_provider(
    clients: Mapping[str, str], *, lives: Mapping[str, int] | None = None
) -> Iterator[IdentityProvider]:
    """Run an identity provider that knows these clients, by their secrets, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())
            granted = provider.grant(self.headers.get("Authorization", ""), form)
            if self.path != "/token":
                self._answer(200, '{"hello": "world"}')
            else:
                self._answer(200 if granted else 401, granted or '{"error": "invalid_client"}')

        def do_GET(self) -> None:
            if self.path.startswith("/.well-known/"):
                self._answer(200, provider.discovery)
            else:
                provider.asked += 1
                self._answer(200, provider.keys)

        def _answer(self, status: int, body: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the library's name
            """Say nothing."""

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        provider = IdentityProvider(f"http://127.0.0.1:{server.server_port}", clients, lives or {})
        yield provider
