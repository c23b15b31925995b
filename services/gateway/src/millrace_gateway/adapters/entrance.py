"""What every request passes first, at each door: whether its key opens it, and how often it may come."""

from collections.abc import Mapping

from millrace.core.control.keys import Role, shown_key
from millrace.process.admission import Doorkeeper
from millrace_gateway.adapters.rates import RateLimiter


class Entrance:
    """Never waits. For one event loop.

    Args:
        rates: How often a client may ask.
        doorkeeper: Knows the keys; None where callers need none.
    """

    def __init__(self, rates: RateLimiter, doorkeeper: Doorkeeper | None = None) -> None:
        self._rates = rates
        self._doorkeeper = doorkeeper

    @property
    def is_open(self) -> bool:
        """Whether it lets everybody in, as often as they come."""
        return self._doorkeeper is None and not self._rates.is_limited

    def check(self, headers: Mapping[str, str], address: str, needs: Role | None) -> None:
        """Let one request in.

        Args:
            headers: Of the request, by their names in lower case; metadata over gRPC.
            address: Where it comes from.
            needs: The role that it takes; None where nobody is asked for a key.

        Raises:
            UnknownCallerError: It shows no key, or one that does not hold.
            TooManyAttemptsError: The same, again and again.
            ForbiddenError: The key's role does not allow it.
            RateLimitedError: It is one too many; says when to come back.
        """
        if self._doorkeeper is not None and needs is not None:
            shown = shown_key(headers.get("authorization", ""), headers.get("x-api-key", ""))
            self._doorkeeper.admit(shown, address=address, needs=needs)
        self._rates.check(headers, address)
