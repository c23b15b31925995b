"""Tokens to sign in with, for the client that does not fetch its own.

librdkafka asks the identity provider itself. aiokafka asks a provider of tokens whenever it connects; this one keeps a
token for most of its life, so that a hundred connections are one question.
"""

import asyncio
import ssl
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Final

import httpx
import msgspec
from aiokafka.abc import AbstractTokenProvider

from millrace.core.errors import FatalError, MillraceError, TransientError
from millrace.process.settings import OAuthSettings

_LIMIT: Final = timedelta(seconds=10)
"""How long the identity provider may take."""

_SHARE_OF_LIFE: Final = 0.8
"""How much of a token's life passes before another one is fetched, as in Kafka's own clients."""


class _Granted(msgspec.Struct):
    """What a token endpoint answers, of RFC 6749 section 5.1."""

    access_token: Annotated[str, msgspec.Meta(min_length=1)]
    expires_in: Annotated[float, msgspec.Meta(ge=0)] = 0.0


class ClientCredentials(AbstractTokenProvider):  # type: ignore[misc] # aiokafka is untyped
    """Fetches tokens by client credentials (RFC 6749, section 4.4). Belongs to one event loop.

    Args:
        oauth: The identity provider, and who asks.
        now_secs: A clock that never goes back.
    """

    def __init__(self, oauth: OAuthSettings, *, now_secs: Callable[[], float] = time.monotonic) -> None:
        self._oauth = oauth
        self._now_secs = now_secs
        self._token = ""
        self._renew_at = 0.0
        self._fetching = asyncio.Lock()

    async def token(self) -> str:
        """A token that holds for a while yet.

        Raises:
            FatalError: The provider refuses this client, or answers something else than a token.
            TransientError: The provider does not answer.
        """
        async with self._fetching:
            if not self._token or self._now_secs() >= self._renew_at:
                granted = await self._fetch()
                self._token = granted.access_token
                self._renew_at = self._now_secs() + _SHARE_OF_LIFE * granted.expires_in
            return self._token

    async def _fetch(self) -> _Granted:
        oauth = self._oauth
        form = {"grant_type": "client_credentials", **({"scope": oauth.scope} if oauth.scope else {})}
        trusted = ssl.create_default_context(cafile=oauth.ca)
        try:
            async with httpx.AsyncClient(verify=trusted, timeout=_LIMIT.total_seconds(), trust_env=False) as client:
                answer = await client.post(oauth.token_url, data=form, auth=(oauth.client_id, oauth.secret()))
        except httpx.HTTPError as error:
            raise self._unanswered(error) from error
        if answer.status_code >= 500:
            raise self._unanswered(f"HTTP {answer.status_code}")
        if answer.is_error:
            raise FatalError(
                f"the identity provider at {oauth.token_url} refuses this client: HTTP {answer.status_code}",
                remedy="check MILLRACE_KAFKA__OAUTH__CLIENT_ID, __CLIENT_SECRET and __SCOPE",
            )
        try:
            return msgspec.json.decode(answer.content, type=_Granted)
        except msgspec.DecodeError as error:
            raise FatalError(
                f"what {oauth.token_url} answers is no token: {error}",
                remedy="check MILLRACE_KAFKA__OAUTH__TOKEN_URL",
            ) from error

    def _unanswered(self, why: object) -> MillraceError:
        return TransientError(
            f"the identity provider at {self._oauth.token_url} does not answer: {why}",
            remedy="check that it runs, MILLRACE_KAFKA__OAUTH__TOKEN_URL and __CA",
        )
