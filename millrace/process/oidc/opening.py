"""Tokens for a door, as its settings say."""

from collections.abc import Iterator
from contextlib import contextmanager

from millrace.core.clock import Clock
from millrace.process.oidc.provider import Provider
from millrace.process.oidc.settings import OidcSettings
from millrace.process.oidc.signing_keys import Pace, SigningKeys
from millrace.process.oidc.tokens import Tokens


@contextmanager
def open_tokens(settings: OidcSettings | None, clock: Clock) -> Iterator[Tokens | None]:
    """Recognise callers by tokens while inside; None where the settings name no provider.

    Raises:
        RequestError: The provider is not what the settings say.
    """
    if settings is None:
        yield None
        return
    with SigningKeys(Provider(settings).keys, Pace.of(settings), clock) as keys:
        yield Tokens(settings, keys)
