"""Who may call which operation, and the note in the history where somebody is refused."""

from collections.abc import Callable, Coroutine, Mapping
from datetime import timedelta
from threading import Lock
from typing import Annotated, Any, Final, Protocol, TypeAlias

import structlog
from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute

from millrace.core.clock import Clock
from millrace.core.control.allowance import Allowance
from millrace.core.control.keys import (
    KEY_CALLER,
    TOKEN_CALLER,
    Caller,
    ForbiddenError,
    Role,
    TooManyAttemptsError,
    UnknownCallerError,
    shown_key,
)
from millrace.core.errors import MillraceError, TransientError
from millrace.telemetry.launcher import Refusal

log = structlog.get_logger()

ROLE: Final = "x-millrace-role"
"""In the OpenAPI document: the role that an operation takes."""

_OWNER: Final = "owner"
_LONGEST_USER: Final = 200
_REFUSALS: Final = 10
_WITHIN: Final = timedelta(minutes=1)

_REASONS: Final[Mapping[type[Exception], Refusal]] = {
    UnknownCallerError: Refusal.KEY,
    ForbiddenError: Refusal.ROLE,
    TooManyAttemptsError: Refusal.OFTEN,
}

Count: TypeAlias = Callable[[Refusal], None]


class Admission(Protocol):
    """Lets callers in. See `millrace.process.admission.Doorkeeper`."""

    def admit(self, shown: str, *, address: str, needs: Role, user: str) -> Caller:
        """Who it is; raises where he may not."""
        ...


class RefusalLog(Protocol):
    """Keeps what was refused."""

    def refused(self, who: str, operation: str, target: Mapping[str, str], why: str) -> None:
        """Somebody wanted more than to look, and was refused.

        Args:
            who: Who it was.
            operation: The id of the operation.
            target: The parameters of its path.
            why: What he was told.

        Raises:
            TransientError: No broker answers.
        """
        ...


def takes(role: Role) -> dict[str, Any]:
    """What an operation declares as `openapi_extra`: the role that it takes."""
    return {ROLE: role.value}


class Guard:
    """Stands before every operation, and lets nothing of a request be read before.

    Args:
        admission: Knows the callers.
        refusals: Keeps what was refused, so often for each caller and minute that it cannot be flooded.
        clock: The system's.
        count: Told of everybody who is not let in.
    """

    def __init__(self, admission: Admission, refusals: RefusalLog, clock: Clock, *, count: Count) -> None:
        self._admission = admission
        self._refusals = refusals
        self._clock = clock
        self._count = count
        self._noted = Allowance(_REFUSALS, _WITHIN)
        self._lock = Lock()  # Of what is noted.

    def admit(self, request: Request, needs: Role) -> None:
        """Let the caller of a request in, and remember him in its state.

        Raises:
            UnknownCallerError: He shows no key, or one that does not hold.
            TooManyAttemptsError: The same, again and again.
            ForbiddenError: His role is not the one that is needed.
        """
        shown = shown_key(request.headers.get("authorization", ""), request.headers.get("x-api-key", ""))
        address = request.client.host if request.client else ""
        said = request.headers.get("millrace-user", "")[:_LONGEST_USER] or _OWNER
        user = _OWNER if said.startswith((KEY_CALLER, TOKEN_CALLER)) else said  # Nobody passes for another.
        try:
            # Whoever is known is remembered first, so that the history can say who was refused.
            request.state.caller = self._admission.admit(shown, address=address, needs=Role.VIEWER, user=user)
            self._admission.admit(shown, address=address, needs=needs, user=user)
        except (UnknownCallerError, ForbiddenError, TooManyAttemptsError) as error:
            self._count(_REASONS[type(error)])
            raise

    def note(self, request: Request, error: MillraceError) -> None:
        """Keep in the history that a request which takes more than a viewer's role was refused. Blocks for the broker.

        Without a broker the caller is told all the same, and the history does not know.
        """
        caller: Caller | None = getattr(request.state, "caller", None)
        route = request.scope.get("route")
        if caller is None or not isinstance(route, APIRoute) or role_of(route) is Role.VIEWER:
            return
        with self._lock:
            wait = self._noted.take(caller.who, self._clock.monotonic())
        if wait:
            return
        try:
            self._refusals.refused(caller.who, str(route.operation_id), request.path_params, error.message)
        except TransientError as away:
            log.warning("a refusal is not in the history", who=caller.who, why=away.message)

    def routes(self) -> type[APIRoute]:
        """The class of routes that ask this guard."""
        guard = self

        class GuardedRoute(APIRoute):
            def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
                answer, needs = super().get_route_handler(), role_of(self)

                async def handle(request: Request) -> Response:
                    guard.admit(request, needs)
                    return await answer(request)

                return handle

        return GuardedRoute


def role_of(route: APIRoute) -> Role:
    """The role that an operation takes; the highest one where it declares none."""
    return Role((route.openapi_extra or {}).get(ROLE, Role.ADMIN))


def caller_of(request: Request) -> Caller:
    """Who was let in."""
    caller: Caller = request.state.caller
    return caller


def _who(request: Request) -> str:
    return caller_of(request).who


Who = Annotated[str, Depends(_who)]
"""Parameter of an operation: whom the history names."""
