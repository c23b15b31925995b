"""What stands before every route: how often a client may ask, and the count of what became of its requests."""

from collections.abc import Callable
from typing import TypeAlias

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from millrace_gateway.adapters.rates import RateLimiter
from millrace_gateway.adapters.rest.refusals import refuse
from millrace_gateway.logic.errors import RateLimitedError

Observe: TypeAlias = Callable[[str], None]
"""Told the status of every answer when it begins."""


class Guard:
    """An ASGI application around another one.

    Args:
        app: What answers.
        rates: How often a client may ask.
        observe: Told of every answer.
    """

    def __init__(self, app: ASGIApp, rates: RateLimiter, observe: Observe) -> None:
        self._app = app
        self._rates = rates
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or let it be answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def observed(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._observe(str(message["status"]))
            await send(message)

        try:
            address = scope["client"][0] if scope["client"] else ""
            self._rates.check(Headers(scope=scope), address)
        except RateLimitedError as error:
            await refuse(error)(scope, receive, observed)
            return
        await self._app(scope, receive, observed)
