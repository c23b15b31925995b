"""Sending: rows of any source become records of a topic."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from millrace.client.encoding import Encoder, JsonEncoder, keys_of, timestamps_of
from millrace.client.sources import CHUNK_ROWS, Chunk, Source, chunks, name_of
from millrace.codec.file_formats import FileFormat
from millrace.core.errors import RequestError
from millrace.core.records import OutputBatch
from millrace.kafka.admin import Admin, TopicSpec
from millrace.kafka.writing import BY_KEY, Writer, at_writing
from millrace.process.settings import KafkaSettings

_PACED_SECS = 0.02
"""With a rate, records leave in portions of this duration, so that a reader sees a stream and not bursts."""


@dataclass(frozen=True, slots=True)
class SendOptions:
    """How rows become records.

    Attributes:
        key_field: Field whose value is the record's key; equal keys go to one partition. None for no key.
        timestamp_field: Field that holds the record's time (milliseconds since 1970, or ISO 8601); None for the time of
            sending. Kafka deletes records by this time; records that are too old already are refused.
        partition: Write everything to this partition; by key where absent.
        encoder: The format of values.
        file_format: How a file is written; by its name where absent.
        rate: Rows a second at most; as fast as possible where absent.
        create_partitions: Make the topic with so many partitions if it does not exist; with a timestamp field it keeps
            its records for ever.
    """

    key_field: str | None = None
    timestamp_field: str | None = None
    partition: int | None = None
    encoder: Encoder = field(default_factory=JsonEncoder)
    file_format: FileFormat | None = None
    rate: float | None = None
    create_partitions: int | None = None

    def __post_init__(self) -> None:
        if self.rate is not None and self.rate <= 0:
            raise RequestError(f"a rate of {self.rate:g} rows a second sends nothing", remedy="give a positive rate")
        if self.encoder.rows_per_record > 1 and (self.key_field or self.timestamp_field):
            raise RequestError(
                "a record of many rows has one key and one timestamp, which no field of a row can give",
                remedy="send JSON or Avro, or leave out the key and timestamp fields",
            )


@dataclass(frozen=True, slots=True)
class Sent:
    """How far sending is, or how it ended.

    Attributes:
        topic: The topic.
        rows: Rows sent so far.
        records: Records written so far; fewer than rows where a record carries many.
        value_bytes: Bytes of their values.
        elapsed_secs: Since sending began.
        done: How much of the source is read, in the unit of `total`.
        total: Size of the source, in a unit of its own; None where nobody knows.
    """

    topic: str
    rows: int = 0
    records: int = 0
    value_bytes: int = 0
    elapsed_secs: float = 0.0
    done: int = 0
    total: int | None = None

    @property
    def rows_per_sec(self) -> float:
        """Mean rate so far."""
        return self.rows / self.elapsed_secs if self.elapsed_secs else 0.0


OnSent: TypeAlias = Callable[[Sent], None]
"""Called after each chunk with the state so far."""


def send(
    kafka: KafkaSettings,
    topic: str,
    source: Source,
    options: SendOptions | None = None,
    *,
    on_sent: OnSent | None = None,
) -> Sent:
    """Write every row of `source` to `topic`, at least once, and return when the broker has acknowledged all.

    Args:
        kafka: The cluster.
        topic: A topic, or the name of a stream: then `<stream>.features`.
        source: What to send.
        options: How rows become records.
        on_sent: Told of progress.

    Raises:
        RequestError: The topic does not exist, or the source cannot be read as it is meant to be.
        TransientError: The broker is away; what was sent before stays sent.
        FatalError: The broker refuses this client.
    """
    options = options or SendOptions()
    place = name_of(source)
    portion = max(1, int(options.rate * _PACED_SECS)) if options.rate else CHUNK_ROWS
    with Writer(kafka) as writer:
        topic = _topic(kafka, writer, topic, options)
        started = time.monotonic()
        sent = Sent(topic)
        for chunk in chunks(source, file_format=options.file_format, chunk_rows=portion):
            if options.rate:
                time.sleep(pause_secs(sent.rows, time.monotonic() - started, options.rate))
            batch = to_records(topic, chunk, options, place)
            if options.timestamp_field is not None and not sent.records:
                refuse_expired(batch, Admin(kafka).topic_config(topic), now_ms=time.time_ns() // 1_000_000)
            writer.write(batch)
            sent = _grown(sent, chunk, batch, time.monotonic() - started)
            if on_sent is not None:
                on_sent(sent)
        writer.flush()
        return replace(sent, elapsed_secs=time.monotonic() - started)


def to_records(topic: str, chunk: Chunk, options: SendOptions, place: str) -> OutputBatch:
    """The records of a chunk.

    Raises:
        RequestError: A row lacks a field that is named, or cannot be written in the format.
    """
    encoder = options.encoder
    values = encoder.encode(chunk, place)
    count = len(values)
    keys: Sequence[bytes | None] = (None,) * count
    timestamps: NDArray[np.int64] = at_writing(count)
    if options.key_field is not None:
        keys = keys_of(chunk.mappings(place), options.key_field, place, chunk.first)
    if options.timestamp_field is not None:
        times = timestamps_of(chunk.mappings(place), options.timestamp_field, place, chunk.first)
        timestamps = np.array(times, np.int64)
    partition = BY_KEY if options.partition is None else options.partition
    headers = None if encoder.headers is None else (list(encoder.headers),) * count  # the client takes lists only
    return OutputBatch(topic, np.full(count, partition, np.int32), timestamps, keys, values, headers)


def refuse_expired(batch: OutputBatch, config: Mapping[str, str], *, now_ms: int) -> None:
    """Refuse records that the topic would delete at once, because they are older than it keeps records.

    Args:
        batch: The first records of a source.
        config: The topic's settings.
        now_ms: The time now, milliseconds since 1970.

    Raises:
        RequestError: The oldest of them is too old.
    """
    retention_ms = int(config.get("retention.ms", "-1"))
    if retention_ms < 0 or "delete" not in config.get("cleanup.policy", "delete"):
        return
    oldest_ms = int(batch.timestamps_ms.min())
    if oldest_ms < now_ms - retention_ms:
        raise RequestError(
            f"{batch.topic!r} keeps records for {retention_ms / 86_400_000:g} days, and the first ones are "
            f"{(now_ms - oldest_ms) / 86_400_000:,.0f} days old: Kafka would delete them soon",
            remedy="set retention.ms=-1 on the topic, or leave out the timestamp field",
        )


def pause_secs(rows: int, elapsed_secs: float, rate: float) -> float:
    """How long to wait before sending on, after `rows` rows in `elapsed_secs`, so as to keep to `rate`."""
    return max(0.0, rows / rate - elapsed_secs)


def choose_topic(existing: frozenset[str], name: str) -> str:
    """The topic that `name` means: itself, or `<name>.features` of a stream.

    Raises:
        RequestError: Neither exists.
    """
    for candidate in (name, f"{name}.features"):
        if candidate in existing:
            return candidate
    alike = get_close_matches(name, existing, n=1)
    hint = f"did you mean {alike[0]!r}? Otherwise " if alike else ""
    raise RequestError(
        f"there is no topic {name!r}, nor {name + '.features'!r}",
        remedy=f"{hint}create it: `millrace send --create 4 {name} FILE` makes one of 4 partitions",
    )


def _topic(kafka: KafkaSettings, writer: Writer, name: str, options: SendOptions) -> str:
    existing = writer.topics()
    if options.create_partitions is None or {name, f"{name}.features"} & existing:
        topic = choose_topic(existing, name)
    else:
        topic = name if "." in name else f"{name}.features"
        # With times of its own a topic may be filled with the past, which Kafka would delete again by default.
        config = {} if options.timestamp_field is None else {"retention.ms": "-1"}
        Admin(kafka).ensure_topics([TopicSpec(topic, options.create_partitions, config)])
    partitions = writer.partitions(topic)
    if options.partition is not None and not 0 <= options.partition < partitions:
        raise RequestError(
            f"{topic!r} has no partition {options.partition}", remedy=f"its partitions are 0 to {partitions - 1}"
        )
    return topic


def _grown(sent: Sent, chunk: Chunk, batch: OutputBatch, elapsed_secs: float) -> Sent:
    return Sent(
        topic=sent.topic,
        rows=sent.rows + len(chunk),
        records=sent.records + len(batch),
        value_bytes=sent.value_bytes + sum(map(len, filter(None, batch.values))),
        elapsed_secs=elapsed_secs,
        done=chunk.done,
        total=chunk.total,
    )
