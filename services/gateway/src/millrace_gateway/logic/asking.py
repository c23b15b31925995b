"""What is asked and what is answered, whatever brought it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from millrace.core.errors import RequestError
from millrace_gateway.logic.tensors import Tensor

NORMAL_PRIORITY = 0
"""The priority of a request that names none; 1 is the highest, larger numbers come later, this one comes last."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One inference request.

    Attributes:
        model: A deployment's name, or a model's with or without an alias.
        version: Number of a version; empty for the one that the name means.
        tensors: The inputs.
        id: The event's own id; empty where the client gave none.
        key: Key of its records; None for the event id.
        outputs: Names of the outputs to answer; all where empty.
        timeout: Longest time to the answer; None for the gateway's own bound.
        priority: 1 is the highest; 0, the default, is the lowest.
    """

    model: str
    version: str
    tensors: Sequence[Tensor]
    id: str = ""
    key: str | None = None
    outputs: Sequence[str] = ()
    timeout: timedelta | None = None
    priority: int = NORMAL_PRIORITY


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to an `Ask`."""

    model: str
    version: str
    id: str
    tensors: tuple[Tensor, ...]


MAX_ID_CHARACTERS = 512


def timeout_of(microseconds: object) -> timedelta | None:
    """The `timeout` parameter of the protocol, in microseconds; 0 and absence mean none.

    Raises:
        RequestError: It is no number of microseconds.
    """
    if microseconds is None:
        return None
    if isinstance(microseconds, bool) or not isinstance(microseconds, int) or not 0 <= microseconds < 2**63:
        raise RequestError("the parameter timeout is no number of microseconds", remedy="send an integer")
    return timedelta(microseconds=min(microseconds, 10**12)) if microseconds else None


def priority_of(value: object) -> int:
    """The `priority` parameter of the protocol.

    Raises:
        RequestError: It is no priority.
    """
    if value is None:
        return NORMAL_PRIORITY
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise RequestError("the parameter priority is no number", remedy="send an integer: 1 is the highest")
    return value


def text_of(value: object, *, name: str) -> str:
    """A short text.

    Raises:
        RequestError: It is no text, or longer than an id may be.
    """
    if not isinstance(value, str) or len(value) > MAX_ID_CHARACTERS or not value.isprintable():
        raise RequestError(f"{name} is no text of at most {MAX_ID_CHARACTERS} characters", remedy="send a short text")
    return value


def event_ids(event_id: str, rows: int) -> list[str]:
    """The ids of a request's rows: the request's own, and the same with the row's number from the second on.

    >>> event_ids("a", 3)
    ['a', 'a.1', 'a.2']
    """
    return [event_id, *map(f"{event_id}.{{}}".format, range(1, rows))]
