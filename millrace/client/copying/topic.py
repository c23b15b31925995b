"""Topics: `kafka:days.features` on the cluster of the command."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from operator import itemgetter
from typing import Final, TypeAlias

import orjson

from millrace.client.copying.ports import Connector, End, Page, Refused, Row, State
from millrace.client.sending import SendOptions, choose_topic, to_records
from millrace.client.sources import Chunk
from millrace.core.errors import RequestError
from millrace.core.records import RecordBatch
from millrace.kafka.admin import Admin
from millrace.kafka.copies import CopyLog
from millrace.kafka.reading import Position, Reader, Start

_Record: TypeAlias = tuple[int, int, bytes | None]
"""Partition, offset and value."""


def _topic(end: End) -> str:
    return choose_topic(Admin(end.kafka).topic_names(), end.uri.partition(":")[2].strip("/"))


class TopicSource:
    """The committed records of a topic that are JSON objects. The state is the next offset of each partition."""

    def __init__(self, end: End) -> None:
        self._kafka = end.kafka
        self._topic = _topic(end)
        self._page_rows = end.options.page_rows

    def pages(self, after: State | None) -> Iterator[Page]:
        """See `Source`."""
        with self._reading(after) as (reader, following):
            for batch in reader.batches(self._page_rows):
                for partition, offset in zip(batch.partitions.tolist(), batch.offsets.tolist(), strict=True):
                    following[str(partition)] = offset + 1
                yield _page(self._topic, _records(batch), {"next": dict(following)})

    def between(self, after: State | None, until: State) -> Page:
        """See `RepeatingSource`."""
        ends = {int(number): int(offset) for number, offset in until["next"].items()}
        found: list[_Record] = []
        with self._reading(after) as (reader, _):
            for batch in reader.batches(self._page_rows):
                found += [record for record in _records(batch) if record[1] < ends.get(record[0], 0)]
                if all(reader.reached(number) >= offset for number, offset in ends.items()):
                    break
        return _page(self._topic, found, until)

    @contextmanager
    def _reading(self, after: State | None) -> Iterator[tuple[Reader, dict[str, int]]]:
        """A reader that begins there, and the next offset of each partition."""
        partitions = Admin(self._kafka).partition_counts([self._topic])[self._topic]
        start: Start = Position.EARLIEST
        if after is not None:
            start = {number: int(after["next"].get(str(number), 0)) for number in range(partitions)}
        with Reader(self._kafka, self._topic, start=start) as reader:
            following = {str(number): reader.bounds(number)[0] for number in range(partitions)}
            if after is not None:
                _refuse_gap(self._topic, following, after["next"])
                following |= after["next"]
            yield reader, following

    def close(self) -> None:
        """Nothing is kept open."""


def _refuse_gap(topic: str, first: State, following: State) -> None:
    for partition, offset in following.items():
        if first.get(partition, 0) > offset:
            raise RequestError(
                f"{topic}-{partition}: records from offset {offset} on are deleted, which were never copied",
                remedy="copy more often than the topic forgets, and begin anew under another --name",
            )


def _records(batch: RecordBatch) -> Iterator[_Record]:
    return zip(batch.partitions.tolist(), batch.offsets.tolist(), batch.values, strict=True)


def _page(topic: str, records: Iterable[_Record], state: State) -> Page:
    """A page of records in an order of their own: a reader brings partitions in another one each time."""
    rows: list[Row] = []
    refused: list[Refused] = []
    for partition, offset, value in sorted(records, key=itemgetter(0, 1)):
        try:
            row = orjson.loads(value or b"")
        except orjson.JSONDecodeError:
            row = None
        if isinstance(row, dict):
            rows.append(row)
        else:
            text = (value or b"")[:1_000].decode(errors="replace")
            refused.append(Refused(f"{topic}-{partition}", offset, "its value is no JSON object", text))
    return Page(rows, state, refused)


class TopicSink:
    """Records of a topic, and the source's state in `millrace.copies`, in one transaction."""

    def __init__(self, end: End) -> None:
        self._topic = _topic(end)
        self._place = end.uri
        self._sending = SendOptions(key_field=end.options.key_field)
        self._log = CopyLog(end.kafka, end.name)
        try:
            self._state = self._log.state()
        except BaseException:
            self._log.close()
            raise

    def position(self) -> State | None:
        """See `Sink`."""
        return self._state

    def write(self, page: Page) -> None:
        """See `Sink`."""
        records = to_records(self._topic, Chunk(1, 0, None, rows=page.rows), self._sending, self._place)
        self._log.write(records, page.state)
        self._state = page.state

    def close(self) -> None:
        """See `Sink`."""
        self._log.close()


TOPIC: Final = Connector(TopicSource, TopicSink)
