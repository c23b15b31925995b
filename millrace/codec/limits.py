"""How much one record may ask of a decoder."""

from dataclasses import dataclass

from millrace.core.errors import RequestError


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that are checked before the work they bound, so that no record can ask for unbounded memory or time.

    Attributes:
        record_bytes: Longest value of a record.
        depth: Deepest nesting of a JSON document; the outermost object is level 1.
        rows: Most rows in one record (Arrow IPC).
        expanded_bytes: Most bytes of one record after decompression (Arrow IPC).
    """

    record_bytes: int = 1_048_576
    depth: int = 64
    rows: int = 65_536
    expanded_bytes: int = 67_108_864

    def __post_init__(self) -> None:
        if min(self.record_bytes, self.depth, self.rows, self.expanded_bytes) < 1:
            raise RequestError(f"a limit of {self} is below 1", remedy="give every limit 1 or more")
        # The parsers recurse once per level, on the stack of whoever calls them.
        if self.depth > 256:
            raise RequestError(f"a nesting depth of {self.depth} is not safe to parse", remedy="allow at most 256")
