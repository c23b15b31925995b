"""Tokens for a door, as its settings say."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from millrace.core.clock import Clock
from millrace.process.oidc.provider import Provider
from millrace.process.oidc.settings import OidcSettings
from millrace.process.oidc.signing_keys import Pace, SigningKeys
from millrace.process.oidc.tokens import Tokens


@contextmanager
def open_tokens(
    settings: OidcSettings | None, clock: Clock, follow_age: Callable[[Callable[[], float]], object]
) -> Iterator[Tokens | None]:
    """Recognise callers by tokens while inside; None where the settings name no provider.

    Args:
        settings: Of the provider.
        clock: The system's.
        follow_age: Is given what tells the age of the provider's keys, in seconds.

    Raises:
        RequestError: The provider is not what the settings say.
    """
    if settings is None:
        yield None
        return
    with SigningKeys(Provider(settings).keys, Pace.of(settings), clock) as keys:
        follow_age(keys.age_secs)
        yield Tokens(settings, keys)
