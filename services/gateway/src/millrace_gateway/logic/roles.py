"""Which role a request takes, where callers need a key."""

import re
from typing import Final

from millrace.core.control.keys import Role

_OPEN: Final = re.compile(r"/v2/health/(live|ready)")
"""Asked by load balancers and orchestrators, which have no keys."""

_ASKING: Final = re.compile(r"/v2/(models/.+/infer|repository/index)")
"""Sent by POST and changing nothing."""

_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def role_for(method: str, path: str) -> Role | None:
    """The role that an HTTP request takes; None where nobody is asked for a key.

    >>> role_for("POST", "/v2/models/rain/infer"), role_for("POST", "/v1/streams/rain/events")
    (<Role.VIEWER: 'viewer'>, <Role.OPERATOR: 'operator'>)
    >>> role_for("GET", "/v2/health/ready")
    """
    if _OPEN.fullmatch(path):
        return None
    return Role.VIEWER if method in _READING or _ASKING.fullmatch(path) else Role.OPERATOR
