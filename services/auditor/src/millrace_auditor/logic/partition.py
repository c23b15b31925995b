"""What the join keeps of one partition between two transactions, and how it comes back after a crash.

The snapshot is written in the transaction that publishes what follows from it, and it holds the offsets that it was
made of. So whatever happens to a worker, its successor continues from a moment at which all three agreed.
"""

import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

import numpy as np

from millrace.codec.audit_records import ReadLabels, VersionBlock
from millrace.codec.evidence import CountedPane, Span, spans_of
from millrace.core.audit.join import Join
from millrace.core.audit.layout import Layout
from millrace.core.audit.pane import PaneKey
from millrace.core.audit.partition import Refused
from millrace.core.audit.snapshot import restore_snapshot, take_snapshot
from millrace.core.audit.windows import NO_TIME, WindowSpec, milliseconds
from millrace.core.errors import FatalError
from millrace_auditor.logic.counting import REPORTS, Counting, Counts

CHUNK_BYTES: Final = 512 * 1024
"""A snapshot is cut into records that every broker takes."""

_FORMAT: Final = 1
_HEAD: Final = b"join"
_LEVEL: Final = 1  # of compression: the columns are mostly repetitions, which any level finds

LayoutOf = Callable[[int], Layout]
"""The layout of a version."""


@dataclass(slots=True)
class Position:
    """How far one partition has been read.

    Attributes:
        next_prediction: The offset to go on with.
        next_label: The offset to go on with.
        newest_event_ms: The newest event time of the predictions.
        newest_label_ms: The newest time of the labels.
        reached_ms: The newest event time whose labels were read as far as they were there.
    """

    next_prediction: int = 0
    next_label: int = 0
    newest_event_ms: int = NO_TIME
    newest_label_ms: int = NO_TIME
    reached_ms: int = NO_TIME


class PartitionState:
    """One partition: its join, its panes, and how far it has come.

    Args:
        number: The partition.
        spec: Windows and horizons.
        join: The join to continue.
        counting: What to count.
    """

    def __init__(self, number: int, spec: WindowSpec, join: Join, counting: Counting = REPORTS) -> None:
        self.number: Final = number
        self.audit: Final[Counts] = counting.begin(spec, join)
        self.position = Position()
        self.spans: Final[dict[PaneKey, Span]] = {}
        self.is_dirty = False
        self._spec = spec
        self._layouts: Final[dict[int, Layout]] = {}

    @classmethod
    def begin(
        cls, number: int, spec: WindowSpec, *, score_columns: int, max_events: int, counting: Counting = REPORTS
    ) -> Self:
        """A partition of which nothing has been read yet."""
        return cls(number, spec, Join(spec, score_columns=score_columns, max_events=max_events), counting)

    def add_predictions(self, version: int, block: VersionBlock, layout_of: LayoutOf) -> Refused:
        """Count predictions of one version; returns what came too late.

        Raises:
            FatalError: The join is full.
            RequestError: The registry does not know the version.
        """
        self.announce(version, layout_of)
        refused = self.audit.add_predictions(block.columns, block.digits)
        for key, span in spans_of(block, refused.late, self._spec).items():
            self.spans[key] = self.spans[key] | span if key in self.spans else span
        newest = int(block.columns.event_times_ms.max())
        self.position.newest_event_ms = max(self.position.newest_event_ms, newest)
        self.is_dirty = True
        return refused

    def add_labels(self, read: ReadLabels) -> Refused:
        """Count labels; returns what came too late.

        Raises:
            FatalError: The join is full.
        """
        self.is_dirty = True
        if not len(read.columns.event_ids):
            return Refused(np.empty(0, np.int64))
        self.position.newest_label_ms = max(self.position.newest_label_ms, int(read.columns.label_times_ms.max()))
        return self.audit.add_labels(read.columns)

    @property
    def watermark_ms(self) -> int:
        """Event time up to which predictions are taken to be complete."""
        return max(self.position.reached_ms - milliseconds(self._spec.out_of_orderness), NO_TIME)

    def has_labels_until_now(self) -> bool:
        """Whether the labels that were read are as young as the predictions."""
        return self.position.newest_label_ms >= self.position.newest_event_ms

    def advance(self) -> list[bytes]:
        """The labels have been read as far as the predictions: let event time go on.

        Returns:
            The events whose label waited in vain.
        """
        if self.position.reached_ms == self.position.newest_event_ms:
            return []
        self.position.reached_ms = self.position.newest_event_ms
        self.is_dirty = True
        orphans = self.audit.expire(self.watermark_ms)
        for key in self.spans.keys() - self.audit.panes.keys():
            del self.spans[key]
        return orphans

    def take_changed(self) -> Iterator[tuple[PaneKey, Span, CountedPane]]:
        """The panes that changed since the last call, as they stand, in the order of their keys."""
        for key, pane in self.audit.take_changed().items():
            yield key, self.spans.get(key, Span(0, 0)), pane

    def snapshot(self) -> list[tuple[bytes, bytes]]:
        """Everything as records of the state topic: keys and values."""
        panes = [
            {"key": [key.version, key.segment, key.start_ms], "span": asdict(span), "pane": pane.to_json().decode()}
            for key, pane in sorted(self.audit.panes.items())
            for span in [self.spans.get(key, Span(0, 0))]
        ]
        head = {"format": _FORMAT, "position": asdict(self.position), "panes": panes}
        document = json.dumps(head, sort_keys=True).encode() + b"\n" + take_snapshot(self.audit.join)
        data = zlib.compress(document, _LEVEL)
        chunks = [data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES)]
        listing = json.dumps({"chunks": len(chunks), "crc32": zlib.crc32(data), "format": _FORMAT}).encode()
        return [*((_chunk_key(i), chunk) for i, chunk in enumerate(chunks)), (_HEAD, listing)]

    def announce(self, version: int, layout_of: LayoutOf) -> None:
        """Learn what to count for a version, if this is the first that is heard of it."""
        if version not in self._layouts:
            self._layouts[version] = layout_of(version)
            self.audit.announce(version, self._layouts[version])


def restore(
    number: int,
    spec: WindowSpec,
    records: Mapping[bytes, bytes],
    layout_of: LayoutOf,
    *,
    max_events: int,
    counting: Counting = REPORTS,
) -> PartitionState | None:
    """The partition as its newest snapshot has it; None where there never was one.

    Raises:
        FatalError: The snapshot is damaged or of another format.
    """
    if _HEAD not in records:
        return None
    try:
        listing = json.loads(records[_HEAD])
        data = b"".join(records[_chunk_key(i)] for i in range(listing["chunks"]))
        if listing["format"] != _FORMAT or zlib.crc32(data) != listing["crc32"]:
            raise _damaged(number, "its parts do not belong together")
        line, _, body = zlib.decompress(data).partition(b"\n")
        head: dict[str, Any] = json.loads(line)
        state = PartitionState(number, spec, restore_snapshot(body, spec, max_events=max_events), counting)
        state.position = Position(**head["position"])
        _fill(state, head["panes"], layout_of, counting)
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise _damaged(number, repr(error)) from None
    return state


def _fill(state: PartitionState, panes: Sequence[Mapping[str, Any]], layout_of: LayoutOf, counting: Counting) -> None:
    for document in panes:
        key = PaneKey(*document["key"])
        state.announce(key.version, layout_of)
        state.audit.panes[key] = counting.read_pane(document["pane"].encode(), layout_of(key.version))
        state.spans[key] = Span(**document["span"])


def _chunk_key(index: int) -> bytes:
    return _HEAD + b"/%d" % index


def _damaged(number: int, what: str) -> FatalError:
    return FatalError(
        f"the snapshot of partition {number} cannot be read: {what}",
        remedy="delete the deployment's audit-state and evidence topics, and reset the group of the join to the start",
    )
