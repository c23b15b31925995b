"""An identity provider for tests: gives tokens by client credentials, and shows the keys that it signs them with."""

import base64
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import parse_qs

from joserfc import jwk, jwt

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
        answered: How many tokens were given.
    """

    url: str
    clients: Mapping[str, str]
    lives: Mapping[str, int]
    answered: int = 0
    _key: jwk.RSAKey = field(default_factory=lambda: jwk.RSAKey.generate_key(2048, parameters={"kid": "first"}))

    @property
    def token_url(self) -> str:
        """The token endpoint."""
        return f"{self.url}/token"

    @property
    def keys(self) -> str:
        """The public keys, as a JSON Web Key Set."""
        return json.dumps({"keys": [{**self._key.as_dict(private=False), "use": "sig", "alg": "RS256"}]})

    def token(self, subject: str, **claims: object) -> str:
        """A signed token; `claims` have the last word."""
        now = int(time.time())
        life = self.lives.get(subject, 3600)
        usual = {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "iat": now - 7200, "exp": now + life}
        return jwt.encode({"alg": "RS256", "kid": "first"}, {**usual, **claims}, self._key)

    def grant(self, authorization: str, form: Mapping[str, list[str]]) -> str | None:
        """The body of the answer to a client with these credentials; None where they are wrong."""
        client, _, secret = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        if self.clients.get(client) != secret or form.get("grant_type") != ["client_credentials"]:
            return None
        self.answered += 1
        life = max(0, self.lives.get(client, 3600))
        return json.dumps({"access_token": self.token(client), "token_type": "Bearer", "expires_in": life})


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
