"""Dead letters: look at them, and send them back to where they came from."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final, TypeAlias

import numpy as np

from millrace.codec.dead_letters import DeadLetter as Story
from millrace.codec.dead_letters import read_dead_letter, replay_headers
from millrace.core.errors import MillraceError, Reason, RequestError
from millrace.core.records import Coordinates, Headers, NextOffset, NextOffsets, OutputBatch, RecordBatch
from millrace.kafka.moving import Mover, moved
from millrace.kafka.reading import Position, Reader, Start, Until
from millrace.process.settings import KafkaSettings

SUFFIX: Final = ".dlq"

MAX_REPLAYS: Final = 3
"""A record that failed so often for good reasons will fail again."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that could not be scored, and why.

    Attributes:
        at: Where the dead letter lies.
        key: The record's key.
        value: The record's value, byte for byte.
        headers: All headers, the failure's among them.
        timestamp_ms: The record's timestamp, milliseconds since 1970.
        story: What the headers say of the failure: reason, stage, source, model, replays.
    """

    at: Coordinates
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int
    story: Story

    def document(self) -> dict[str, Any]:
        """The dead letter as JSON values. Bytes that are no UTF-8 are shown with backslashes."""
        story = self.story
        return {
            "at": str(self.at),
            "source": str(story.source),
            "reason": story.reason.value,
            "message": story.message,
            "stage": story.stage,
            "deployment": story.circumstances.deployment,
            "model": story.circumstances.model,
            "replays": story.replays,
            "first_failure": story.first_failure_ms,
            "timestamp": self.timestamp_ms,
            "key": _text(self.key),
            "value": _text(self.value),
        }


OnInvalid: TypeAlias = Callable[[Coordinates, MillraceError], None]
"""Told of a record in a dead letter topic that is no dead letter of millrace."""


class ReplayFrom(StrEnum):
    """Where a replay begins."""

    LAST_REPLAY = "last-replay"
    """After the last letter that an earlier replay settled."""
    BEGINNING = "beginning"
    """With the oldest letter there is, whether it was replayed before or not."""


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """Which dead letters go back.

    Attributes:
        reason: Only letters with this reason; all where absent.
        begin: Where to begin.
        max_replays: A letter that was sent back so often already is refused.
    """

    reason: Reason | None = None
    begin: ReplayFrom = ReplayFrom.LAST_REPLAY
    max_replays: int = MAX_REPLAYS

    def __post_init__(self) -> None:
        if self.max_replays < 1:
            raise RequestError(f"a bound of {self.max_replays} replays refuses every letter", remedy="allow at least 1")


@dataclass(frozen=True, slots=True)
class Replayed:
    """How a replay ended.

    Attributes:
        sent: Letters that went back to their source topics.
        refused: Letters that the loop guard refused.
        passed_over: Letters with another reason, or replayed before.
        unreadable: Records that are no dead letters.
    """

    sent: int = 0
    refused: int = 0
    passed_over: int = 0
    unreadable: int = 0

    def plus(self, other: "Replayed") -> "Replayed":
        """Both together."""
        return Replayed(
            self.sent + other.sent,
            self.refused + other.refused,
            self.passed_over + other.passed_over,
            self.unreadable + other.unreadable,
        )


def dead_letters_topic(deployment: str) -> str:
    """The topic of a deployment's dead letters, where its document names no other."""
    return deployment if deployment.endswith(SUFFIX) else f"{deployment}{SUFFIX}"


def read_dead_letters(
    kafka: KafkaSettings,
    topic: str,
    *,
    start: Start = Position.EARLIEST,
    until: Until = Until.NOW,
    on_invalid: OnInvalid | None = None,
) -> Iterator[DeadLetter]:
    """Dead letters, in the order of each partition.

    Args:
        kafka: The cluster.
        topic: The dead letter topic.
        start: Where to begin.
        until: Where to stop.
        on_invalid: Told of records that are no dead letters, which are then passed over; they are raised where absent.

    Raises:
        RequestError: There is no such topic, or a record is no dead letter and nobody is to be told.
        TransientError: No broker answers.
        FatalError: The broker refuses this client.
    """
    with Reader(kafka, topic, start=start, until=until) as reader:
        for batch in reader:
            yield from letters_of(batch, on_invalid)


def letters_of(batch: RecordBatch, on_invalid: OnInvalid | None = None) -> Iterator[DeadLetter]:
    """The dead letters of a batch; see `read_dead_letters` for what is none."""
    for row in range(len(batch)):
        headers = batch.headers[row] or ()
        try:
            story = read_dead_letter(headers)
        except RequestError as error:
            if on_invalid is None:
                raise
            on_invalid(batch.coordinates(row), error)
            continue
        yield DeadLetter(
            at=batch.coordinates(row),
            key=batch.keys[row],
            value=batch.values[row],
            headers=headers,
            timestamp_ms=int(batch.timestamps_ms[row]),
            story=story,
        )


def replay_dead_letters(
    kafka: KafkaSettings,
    topic: str,
    options: ReplayOptions | None = None,
    *,
    on_refused: Callable[[DeadLetter], None] | None = None,
) -> Replayed:
    """Send dead letters back to the topics and partitions that they came from, with their keys, values and timestamps.

    Each letter goes back once, whatever interrupts the replay: sending and remembering are one transaction. A letter
    counts its replays in its headers; beyond `options.max_replays` it is refused, so that nothing circles forever.

    Raises:
        RequestError: There is no such topic, or a source topic is gone.
        TransientError: No broker answers; what went back is remembered, so repeat the replay.
        FatalError: The broker refuses this client, or another replay took over.
    """
    options = options or ReplayOptions()
    settled = Settled(kafka, topic, options)
    total = Replayed()
    unreadable: list[Coordinates] = []
    with Mover(kafka, topic, name=_name(topic, options.reason), begin=settled.begin()) as mover:
        for batch in mover:
            letters = list(letters_of(batch, lambda at, _: unreadable.append(at)))
            wanted = [letter for letter in letters if settled.is_open(letter)]
            back = [letter for letter in wanted if letter.story.replays < options.max_replays]
            refused = [letter for letter in wanted if letter.story.replays >= options.max_replays]
            mover.move(returned(back), batch.next_offsets())
            if on_refused is not None:
                deque(map(on_refused, refused), maxlen=0)
            total = total.plus(Replayed(len(back), len(refused), len(letters) - len(wanted)))
    return replace(total, unreadable=len(unreadable))


class Settled:
    """Which letters an earlier replay has settled.

    Replays of all letters and replays of one reason remember for themselves how far they came; a letter is settled when
    either came past it.
    """

    def __init__(self, kafka: KafkaSettings, topic: str, options: ReplayOptions) -> None:
        self._kafka = kafka
        self._topic = topic
        self._options = options
        self._marks: dict[str, NextOffsets] = {}

    def begin(self) -> NextOffsets:
        """Where to begin reading: before this, everything wanted is settled."""
        if self._options.begin is ReplayFrom.BEGINNING:
            return {}
        return later(self._mark(None), self._mark(self._options.reason))

    def is_open(self, letter: DeadLetter) -> bool:
        """Whether a letter is wanted and not settled yet."""
        if self._options.reason not in {None, letter.story.reason}:
            return False
        if self._options.begin is ReplayFrom.BEGINNING:
            return True
        marks = (self._mark(None), self._mark(letter.story.reason))
        return all(letter.at.offset >= mark.get(letter.at.topic_partition, NextOffset(0)) for mark in marks)

    def _mark(self, reason: Reason | None) -> NextOffsets:
        name = _name(self._topic, reason)
        if name not in self._marks:
            self._marks.update(moved(self._kafka, [name]))
        return self._marks[name]


def later(one: NextOffsets, other: NextOffsets) -> NextOffsets:
    """The higher offset of each partition."""
    return {at: max(one.get(at, NextOffset(0)), other.get(at, NextOffset(0))) for at in one.keys() | other.keys()}


def returned(letters: Sequence[DeadLetter]) -> list[OutputBatch]:
    """The records to write: each letter as it was, to where it came from, one replay older."""
    by_topic: dict[str, list[DeadLetter]] = {}
    for letter in letters:
        by_topic.setdefault(letter.story.source.topic, []).append(letter)
    return [
        OutputBatch(
            topic,
            np.array([letter.story.source.partition for letter in some], np.int32),
            np.array([letter.timestamp_ms for letter in some], np.int64),
            [letter.key for letter in some],
            [letter.value for letter in some],
            [replay_headers(letter.headers) for letter in some],
        )
        for topic, some in by_topic.items()
    ]


def _name(topic: str, reason: Reason | None) -> str:
    return f"millrace-replay-{topic}" + ("" if reason is None else f"-{reason.value}")


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "backslashreplace")
