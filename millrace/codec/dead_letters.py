"""Dead letters: a record that cannot be scored, byte for byte, with the story of its failure in its headers.

The first six headers are Kafka's own (KIP-1191); the others follow their grammar. A record that is replayed and fails
again keeps the time of its first failure and counts its replays, so that nothing circles forever.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from millrace.codec.headers import header
from millrace.core.columns import Rejection
from millrace.core.errors import InvalidRecordError, Reason, RequestError
from millrace.core.records import Coordinates, Headers, OutputBatch, RecordBatch

PREFIX: Final = "__dlq.errors."
"""What every header about the failure starts with."""
REPLAYS: Final = "__dlq.replays"
"""How often the record was sent back to its source; absent for never."""

TOPIC: Final = PREFIX + "topic"
PARTITION: Final = PREFIX + "partition"
OFFSET: Final = PREFIX + "offset"
GROUP: Final = PREFIX + "group"
DELIVERY_COUNT: Final = PREFIX + "delivery.count"
MESSAGE: Final = PREFIX + "message"
REASON: Final = PREFIX + "reason"
STAGE: Final = PREFIX + "stage"
EXCEPTION: Final = PREFIX + "exception"
DEPLOYMENT: Final = PREFIX + "deployment"
MODEL: Final = PREFIX + "model"
FIRST_FAILURE_TIME: Final = PREFIX + "first.failure.time"

REQUIRED: Final = (
    *(TOPIC, PARTITION, OFFSET, GROUP, DELIVERY_COUNT, MESSAGE),
    *(REASON, STAGE, EXCEPTION, DEPLOYMENT, MODEL, FIRST_FAILURE_TIME),
)
"""The headers that every dead letter has, as UTF-8 text; counts and milliseconds in decimal."""

_LONGEST_MESSAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Where records failed.

    Attributes:
        deployment: Name of the deployment.
        model: The model version, `name/3`.
        group: Consumer group of the scorer.
    """

    deployment: str
    model: str
    group: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What the headers of a dead letter say.

    Attributes:
        source: Where the record came from.
        reason: Why it cannot be scored.
        message: The same in words.
        stage: Where in the lane it failed: `decode`, `transform`, `infer`, `encode`.
        exception: Name of the error's class.
        circumstances: Deployment, model and group.
        first_failure_ms: When it failed first, milliseconds since 1970.
        replays: How often it had been sent back.
        headers: The record's original headers.
    """

    source: Coordinates
    reason: Reason
    message: str
    stage: str
    exception: str
    circumstances: Circumstances
    first_failure_ms: int
    replays: int
    headers: tuple[tuple[str, bytes | None], ...]


def dead_letters(
    records: RecordBatch,
    rejections: Sequence[Rejection],
    *,
    topic: str,
    stage: str,
    circumstances: Circumstances,
    failed_at_ms: int,
) -> OutputBatch:
    """The dead letters of the rejected records: same partition, timestamp, key and value; headers added.

    Args:
        records: The batch that the rejections' rows count in.
        rejections: Which records, and why.
        topic: The dead letter topic.
        stage: Where in the lane they failed.
        circumstances: Where they failed.
        failed_at_ms: The time now, milliseconds since 1970.
    """
    rejected = records.take(np.array([rejection.row for rejection in rejections], np.intp))
    common = {
        GROUP: circumstances.group,
        STAGE: stage,
        DEPLOYMENT: circumstances.deployment,
        MODEL: circumstances.model,
        FIRST_FAILURE_TIME: str(failed_at_ms),
    }
    headers = [_with_failure(rejected, row, rejection.error, common) for row, rejection in enumerate(rejections)]
    return OutputBatch(topic, rejected.partitions, rejected.timestamps_ms, rejected.keys, rejected.values, headers)


def _with_failure(records: RecordBatch, row: int, error: InvalidRecordError, common: Mapping[str, str]) -> Headers:
    original = records.headers[row] or ()
    source = records.coordinates(row)
    failure = {
        TOPIC: source.topic,
        PARTITION: str(source.partition),
        OFFSET: str(source.offset),
        DELIVERY_COUNT: str(replays(original) + 1),
        MESSAGE: error.detail[:_LONGEST_MESSAGE],
        REASON: error.reason.value,
        EXCEPTION: type(error).__name__,
        **common,
    }
    added = {name: text.encode(errors="replace") for name, text in failure.items()}
    first = header(original, FIRST_FAILURE_TIME)
    if first is not None:
        added[FIRST_FAILURE_TIME] = first
    return [*(pair for pair in original if pair[0] not in added), *added.items()]


def replays(headers: Headers | None) -> int:
    """How often a record was sent back to its source topic. What is no count is none."""
    count = header(headers, REPLAYS) or b""
    return int(count) if count.isdigit() else 0


def replay_headers(headers: Headers | None) -> Headers:
    """Headers of a dead letter that goes back to its source topic: the original ones, and the loop guard's.

    The time of the first failure stays, so that the age of a failure survives its replays.
    """
    kept = [
        pair
        for pair in headers or ()
        if pair[0] == FIRST_FAILURE_TIME or not (pair[0].startswith(PREFIX) or pair[0] == REPLAYS)
    ]
    return [*kept, (REPLAYS, str(replays(headers) + 1).encode())]


def read_dead_letter(headers: Headers | None) -> DeadLetter:
    """The story that the headers of a dead letter tell.

    Raises:
        RequestError: A required header is absent or unreadable: this is no dead letter of ours.
    """
    found = {name: header(headers, name) for name in REQUIRED}
    try:
        if None in found.values():
            raise ValueError
        text = {name: (value or b"").decode() for name, value in found.items()}
        return DeadLetter(
            source=Coordinates(text[TOPIC], int(text[PARTITION]), int(text[OFFSET])),
            reason=Reason(text[REASON]),
            message=text[MESSAGE],
            stage=text[STAGE],
            exception=text[EXCEPTION],
            circumstances=Circumstances(text[DEPLOYMENT], text[MODEL], text[GROUP]),
            first_failure_ms=int(text[FIRST_FAILURE_TIME]),
            replays=replays(headers),
            headers=tuple(pair for pair in headers or () if pair[0] not in found and pair[0] != REPLAYS),
        )
    except ValueError:
        broken = sorted(name for name, value in found.items() if value is None)
        raise RequestError(
            f"the record is no dead letter: {', '.join(broken) or 'a header'} is absent or unreadable",
            remedy="read a dead letter topic that millrace writes",
        ) from None
