"""What the join writes for the judge, and what it sets aside: documents of `<deployment>.evidence` and `.unjoined`.

Evidence is set, never incremented: a record holds the whole of what one partition has counted for one pane, under a key
that is exactly that, so that reading one twice changes nothing.
"""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from millrace.codec.audit_records import VersionBlock
from millrace.core.audit.layout import Layout
from millrace.core.audit.pane import Pane, PaneKey
from millrace.core.audit.report import canonical_json
from millrace.core.audit.windows import NO_TIME, WindowSpec
from millrace.core.errors import RequestError

PANE_TYPE: Final = "audit.evidence.v1"
PROGRESS_TYPE: Final = "audit.progress.v1"
_REMEDY: Final = "let only the auditor's join write to the evidence topic"


class CountedPane(Protocol):
    """What was counted of one pane."""

    def to_json(self) -> bytes:
        """The counts; equal counts give equal bytes."""
        ...


@dataclass(frozen=True, slots=True)
class Span:
    """Offsets of the predictions that a pane counts: the first, and one past the last."""

    first: int
    after: int

    def __or__(self, other: "Span") -> "Span":
        return Span(min(self.first, other.first), max(self.after, other.after))


@dataclass(frozen=True, slots=True)
class PaneEvidence:
    """One pane of one partition, as it stands."""

    key: PaneKey
    partition: int
    span: Span
    counts: dict[str, Any]

    def pane(self, layout: Layout) -> Pane:
        """The counts, read by the layout of the version."""
        return Pane.from_json(json.dumps(self.counts).encode(), layout)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one partition has come.

    Attributes:
        partition: The partition.
        newest_ms: Its newest event time whose labels have been read as far as they are there.
        next_label: The offset of the first label that has not been read.
    """

    partition: int
    newest_ms: int
    next_label: int = 0


class Unjoined(StrEnum):
    """Why a record is not part of any report."""

    LATE_LABEL = "late_label"
    """The label's own time is past its event's horizon."""
    ORPHAN = "orphan"
    """No prediction of the label's event came while the label waited."""
    LATE_PREDICTION = "late_prediction"
    """The prediction's window could not change any more."""
    UNREADABLE = "unreadable"
    """The record is no label, or no prediction."""


def pane_key(key: PaneKey, partition: int) -> bytes:
    """The record key of a pane of a partition."""
    return f"{key.version}/{key.segment}/{key.start_ms}/{partition}".encode()


def pane_value(model: str, key: PaneKey, partition: int, span: Span, pane: CountedPane) -> bytes:
    """The record value of a pane of a partition; equal counts give equal bytes."""
    head = canonical_json(
        {
            "model": model,
            "offsets": [span.first, span.after],
            "partition": partition,
            "segment": key.segment,
            "start_ms": key.start_ms,
            "type": PANE_TYPE,
            "version": key.version,
        }
    )
    return head[:-1] + b',"pane":' + pane.to_json() + b"}"


def spans_of(block: VersionBlock, late: NDArray[np.int64], spec: WindowSpec) -> dict[PaneKey, Span]:
    """The offsets that each pane counts of a block; of rows that came too late, none."""
    columns = block.columns
    starts = spec.pane_starts(columns.event_times_ms)
    starts[late] = NO_TIME
    pairs = np.stack((columns.segments, starts))
    unique, groups = np.unique(pairs, axis=1, return_inverse=True)
    first = np.full(unique.shape[1], np.iinfo(np.int64).max)
    after = np.zeros(unique.shape[1], np.int64)
    np.minimum.at(first, groups, block.offsets)
    np.maximum.at(after, groups, block.offsets + 1)
    version = int(columns.versions[0])
    return {
        PaneKey(version, segment, start): Span(int(first[i]), int(after[i]))
        for i, (segment, start) in enumerate(unique.T.tolist())
        if start != NO_TIME
    }


def progress_key(partition: int) -> bytes:
    """The record key of a partition's progress."""
    return f"progress/{partition}".encode()


def progress_value(progress: Progress) -> bytes:
    """The record value of a partition's progress."""
    return canonical_json(
        {
            "newest_ms": progress.newest_ms,
            "next_label": progress.next_label,
            "partition": progress.partition,
            "type": PROGRESS_TYPE,
        }
    )


def read_evidence(value: bytes | None) -> PaneEvidence | Progress:
    """A record of the evidence topic.

    Raises:
        RequestError: It is none.
    """
    try:
        document = json.loads(value or b"")
        if document["type"] == PROGRESS_TYPE:
            return Progress(int(document["partition"]), int(document["newest_ms"]), int(document["next_label"]))
        if document["type"] != PANE_TYPE:
            raise RequestError(f"type {document['type']!r} is no evidence", remedy=_REMEDY)
        key = PaneKey(int(document["version"]), int(document["segment"]), int(document["start_ms"]))
        first, after = map(int, document["offsets"])
        return PaneEvidence(key, int(document["partition"]), Span(first, after), dict(document["pane"]))
    except (ValueError, KeyError, TypeError) as error:
        raise RequestError(f"a record is no evidence: {error!r}", remedy=_REMEDY) from None


def unjoined_value(event_id: str, why: Unjoined, source: str | None) -> bytes:
    """A record of the unjoined topic: which event, why, and the coordinates of the record where it is still known."""
    return canonical_json(
        {
            "event_id": event_id,
            "reason": why.value,
            "type": "audit.unjoined.v1",
            **({"source": source} if source else {}),
        }
    )
