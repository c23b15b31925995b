"""Whatever comes between them, every subscriber gets the records from its start on, each once, in order."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from millrace_gateway.logic.positions import format_id, parse_id
from millrace_gateway.logic.recent import Cursor, OvertakenError, Recent
from millrace_gateway.logic.selection import Published, Selection

PARTITIONS = 3


def published(partition: int, offset: int) -> Published:
    return Published(
        partition, offset, b"k%d" % (offset % 2), b"x" * (offset % 5), version=1 + offset % 2, value=offset
    )


@dataclass
class Topic:
    """A topic that grows, with offsets that hold no prediction (marks of transactions) here and there."""

    records: list[list[Published]] = field(default_factory=lambda: [[] for _ in range(PARTITIONS)])
    ends: list[int] = field(default_factory=lambda: [0] * PARTITIONS)

    def write(self, partition: int, *, marks: int) -> None:
        self.records[partition].append(published(partition, self.ends[partition]))
        self.ends[partition] += 1 + marks

    def read(self, positions: Mapping[int, int], limit: int) -> tuple[list[Published], dict[int, int]]:
        """What a consumer at these positions is given, and its positions after that."""
        found: list[Published] = []
        reached = dict(positions)
        for partition, held in enumerate(self.records):
            for each in held:
                if each.offset >= reached[partition]:
                    if len(found) == limit:
                        return found, reached
                    found.append(each)
                    reached[partition] = each.offset + 1
            reached[partition] = self.ends[partition]
        return found, reached


class Subscriber:
    """Reads by itself until it may join; begins again at its id when it was overtaken."""

    def __init__(self, start: Mapping[int, int], selection: Selection) -> None:
        self.start = dict(start)
        self.selection = selection
        self.got: list[tuple[int, int]] = []
        self.overtaken = 0
        self._begin(start)

    def _begin(self, start: Mapping[int, int]) -> None:
        self.cursor = Cursor(start, self.selection)
        self.own = dict(start)

    def turn(self, topic: Topic, recent: Recent, limit: int) -> None:
        if self.cursor.join(recent):
            try:
                events = self.cursor.take(recent, limit)
            except OvertakenError:
                self.overtaken += 1
                self._begin(parse_id(self.cursor.id))
                return
        else:
            found, self.own = topic.read(self.own, limit)
            events = self.cursor.pass_on(found, self.own)
        self.got += [(event.prediction.partition, event.prediction.offset) for event in events]
        if events:  # whoever leaves here and comes back with the last id loses and repeats nothing
            self._resumes_at(events[-1].id)

    def _resumes_at(self, event_id: str) -> None:
        positions = parse_id(event_id)
        for partition in range(PARTITIONS):
            last = max((offset for number, offset in self.got if number == partition), default=-1)
            assert positions[partition] > last

    def expected(self, topic: Topic) -> list[list[int]]:
        return [
            [each.offset for each in held if each.offset >= self.start[partition] and self.selection.has(each)]
            for partition, held in enumerate(topic.records)
        ]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, PARTITIONS - 1), st.integers(0, 2)),
        st.tuples(st.just("read"), st.integers(1, 8), st.just(0)),
        st.tuples(st.just("join"), st.integers(0, 2), st.booleans().map(int)),
        st.tuples(st.just("turn"), st.integers(0, 9), st.integers(1, 8)),
    ),
    max_size=150,
)


@settings(max_examples=300, deadline=None)
@given(steps=STEPS, size=st.integers(1, 12), size_bytes=st.integers(4, 60))
def test_every_subscriber_gets_everything_once_in_order(
    steps: list[tuple[str, int, int]], size: int, size_bytes: int
) -> None:
    topic = Topic()
    for partition in range(PARTITIONS):
        topic.write(partition, marks=1)
    shared = dict(enumerate(topic.ends))
    recent = Recent(shared, max_records=size, max_bytes=size_bytes)
    subscribers: list[Subscriber] = []
    for what, first, second in steps:
        match what:
            case "write":
                topic.write(first, marks=second)
            case "read":
                found, shared = topic.read(shared, first)
                recent.add(found, shared)
            case "join":
                start = {0: dict.fromkeys(range(PARTITIONS), 0), 1: dict(enumerate(topic.ends)), 2: shared}[first]
                subscribers.append(Subscriber(start, Selection(version=2) if second else Selection()))
            case _ if subscribers:
                subscribers[first % len(subscribers)].turn(topic, recent, second)
        assert recent.end - recent.first <= size
        assert recent.held_bytes <= size_bytes
    found, shared = topic.read(shared, 10_000)
    recent.add(found, shared)
    for subscriber in subscribers:
        for _ in range(400):
            subscriber.turn(topic, recent, 5)
        got = [[offset for number, offset in subscriber.got if number == partition] for partition in range(PARTITIONS)]
        assert got == subscriber.expected(topic)


@given(st.dictionaries(st.integers(0, 999_999), st.integers(0, 2**63 - 1), min_size=1, max_size=20))
def test_an_id_is_a_place_to_begin(positions: dict[int, int]) -> None:
    assert parse_id(format_id(positions)) == positions
