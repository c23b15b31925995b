"""The records of `millrace.nodes`, `millrace.assignments` and `millrace.processes`, and the values that they hold."""

import re
import socket
from collections.abc import Mapping
from typing import Any, Final, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from millrace.core.control.fleet import Assignment, Heartbeat, Process, Slot
from millrace.process.refusal import refusal

Value = TypeVar("Value")


class FleetRecord(Generic[Value]):
    """How values of one kind become JSON, and back.

    Args:
        kind: The values' type. Fields that a later version added are ignored.
    """

    def __init__(self, kind: type[Value]) -> None:
        self.adapter: Final[TypeAdapter[Value]] = TypeAdapter(kind)

    def write(self, value: Value) -> dict[str, object]:
        """The value as a JSON object; `read` reads it back as an equal one."""
        document: dict[str, object] = self.adapter.dump_python(value, mode="json")
        return document

    def read(self, document: Mapping[str, Any], *, subject: str) -> Value:
        """The value that a JSON object holds.

        Args:
            document: What a JSON parser returned.
            subject: Where it came from, for errors.

        Raises:
            RequestError: It is no such record; names the place.
        """
        try:
            # JSON mode is the strict one that still knows enums and tuples.
            return self.adapter.validate_json(to_json(document), strict=True)
        except ValidationError as error:
            raise refusal(error, subject=subject) from None


HEARTBEATS: Final = FleetRecord(Heartbeat)
"""Records of `millrace.nodes`; the key is the node's name."""

ASSIGNMENTS: Final = FleetRecord(Assignment)
"""Records of `millrace.assignments`; the key is the slot."""

PROCESSES: Final = FleetRecord(Process)
"""Records of `millrace.processes`; the key is `process_key`."""


def own_node_name() -> str:
    """The name of this machine's node where nobody says another: the machine's, as a node's name is written."""
    return re.sub(r"[^a-z0-9]+", "-", socket.gethostname().lower()).strip("-")[:60].rstrip("-") or "node"


def process_key(slot: Slot, node: str) -> str:
    """The key of what a node says about a slot.

    >>> process_key(Slot("rain", "scorer", 0), "a")
    'rain/scorer/0@a'
    """
    return f"{slot}@{node}"
