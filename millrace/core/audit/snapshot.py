"""The join's state as bytes, for a changelog, and back."""

import json
from itertools import accumulate, pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from millrace.core.audit.held import HeldEvents
from millrace.core.audit.join import Join
from millrace.core.audit.windows import WindowSpec
from millrace.core.errors import RequestError

_FORMAT: Final = 2
_EVENT_COLUMNS: Final = (
    "event_time",
    "bucket",
    "label",
    "label_time",
    "weight",
    "revision",
    "live",
    "seen",
    "credits",
)
_ROW_COLUMNS: Final = ("version", "segment", "predicted", "scores")


def take_snapshot(join: Join) -> bytes:
    """Everything the join holds: a line of JSON, then the columns as they lie in memory (little-endian).

    A join restored from it continues exactly as this one.
    """
    held = join.held
    ids = list(held.index)
    slots = np.fromiter(held.index.values(), np.int64, len(ids))
    owners, rows = held.chain(slots)
    columns: list[NDArray[np.generic]] = [
        np.fromiter(map(len, ids), np.int64, len(ids)),
        *(held.events[name][slots] for name in _EVENT_COLUMNS),
        owners,
        *(held.rows[name][rows] for name in _ROW_COLUMNS),
    ]
    header = {
        "format": _FORMAT,
        "events": len(ids),
        "rows": len(rows),
        "score_columns": held.score_columns,
        "expired_bucket": held.expired_bucket,
    }
    return b"".join(
        [json.dumps(header, sort_keys=True).encode(), b"\n", *(c.tobytes() for c in columns), b"".join(ids)]
    )


def restore_snapshot(data: bytes, spec: WindowSpec, *, max_events: int = 4_000_000) -> Join:
    """The join that `take_snapshot` saw.

    Raises:
        RequestError: The bytes are no snapshot of this format.
    """
    try:
        line, _, body = data.partition(b"\n")
        header = json.loads(line)
        if header["format"] != _FORMAT:
            raise RequestError(
                f"the join's snapshot has format {header['format']}, not {_FORMAT}",
                remedy="rebuild the state from the topics: reset the auditor's offsets by the label horizon",
            )
        join = Join(spec, score_columns=header["score_columns"], max_events=max_events)
        join.held.expired_bucket = header["expired_bucket"]
        _fill(join.held, body, header["events"], header["rows"])
    except (ValueError, KeyError, TypeError) as error:
        raise RequestError(
            f"not a snapshot of a join: {error!r}",
            remedy="rebuild the state from the topics: reset the auditor's offsets by the label horizon",
        ) from None
    return join


def _fill(held: HeldEvents, body: bytes, event_count: int, row_count: int) -> None:
    position = 0

    def column(blank: NDArray[np.generic], count: int) -> NDArray[np.generic]:
        nonlocal position
        values = np.frombuffer(body, blank.dtype, count * blank.size, position)
        position += values.nbytes
        return values.reshape(count, *blank.shape)

    lengths = column(np.empty((), np.int64), event_count).astype(np.int64)
    events = {name: column(held.events.blanks[name], event_count) for name in _EVENT_COLUMNS}
    owners = column(np.empty((), np.int64), row_count).astype(np.int64)
    rows = {name: column(held.rows.blanks[name], row_count) for name in _ROW_COLUMNS}
    ends = list(accumulate(lengths.tolist(), initial=position))
    if ends[-1] != len(body):
        raise ValueError(f"{len(body)} bytes instead of {ends[-1]}")
    ids = [body[start:end] for start, end in pairwise(ends)]
    held.fill(ids, events, owners, rows)
