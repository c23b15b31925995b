"""What stands before every route: the entrance, and the count of what became of requests."""

from collections.abc import Callable
from typing import TypeAlias

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from millrace.core.errors import MillraceError
from millrace_gateway.adapters.entrance import Entrance
from millrace_gateway.adapters.rest.refusals import refuse
from millrace_gateway.logic.roles import role_for

Observe: TypeAlias = Callable[[str], None]
"""Told the status of every answer when it begins."""


class Guard:
    """An ASGI application around another one.

    Args:
        app: What answers.
        entrance: Lets requests in.
        observe: Told of every answer.
    """

    def __init__(self, app: ASGIApp, entrance: Entrance, observe: Observe) -> None:
        self._app = app
        self._entrance = entrance
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or let it be answered."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return

        async def observed(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._observe(str(message["status"]))
            await send(message)

        try:
            address = scope["client"][0] if scope["client"] else ""
            needs = role_for(scope.get("method", "GET"), scope["path"])
            self._entrance.check(Headers(scope=scope), address, needs)
        except MillraceError as error:
            if scope["type"] == "websocket":
                await WebSocket(scope, receive, send).send_denial_response(refuse(error))
            else:
                await refuse(error)(scope, receive, observed)
            return
        await self._app(scope, receive, observed)
