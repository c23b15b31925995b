"""The scorer's rivals, each a process of its own: `python -m tests.perf.loops plain|relay|pace ...`.

`plain` is what the client's documentation teaches: poll, decode, infer, produce, one record at a time, and a
transaction every so many records. `relay` copies records in batches and does nothing else: what is left when all
work on records is gone. `pace` is no rival: it sends records at a steady rate.
"""

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import onnxruntime
from confluent_kafka import Consumer, Producer, TopicPartition

from tests.perf.workload import FEATURES, values

_TICK_SECS: Final = 0.005


def plain(options: argparse.Namespace) -> None:
    """Score record by record."""
    session = onnxruntime.InferenceSession(options.model, providers=["CPUExecutionProvider"])
    [model_input], model_output = session.get_inputs(), session.get_outputs()[-1]
    consumer = Consumer(_consumer(options))
    producer = Producer({"bootstrap.servers": options.bootstrap, "transactional.id": options.group})
    producer.init_transactions()
    consumer.subscribe([options.topic])
    pending = 0
    while True:
        message = consumer.poll(1.0)
        if message is None or message.error():
            continue
        if not pending:
            producer.begin_transaction()
        record = json.loads(message.value() or b"")
        row = np.array([[record[name] for name in FEATURES]], np.float32)
        score = float(session.run([model_output.name], {model_input.name: row})[0].reshape(-1)[-1])
        prediction = {
            "event_id": f"{message.topic()}-{message.partition()}-{message.offset()}",
            "source": {"topic": message.topic(), "partition": message.partition(), "offset": message.offset()},
            "deployment": "plain",
            "model": "perf",
            "version": 1,
            "digest": "sha256:" + 64 * "0",
            "transform": "identity",
            "outputs": {"label": "yes" if score > 0.5 else "no", "scores": {"no": 1 - score, "yes": score}},
            "event_time": message.timestamp()[1],
            "scored_at": int(time.time() * 1000),
        }
        producer.produce(
            options.output,
            json.dumps(prediction).encode(),
            message.key(),
            partition=message.partition() or 0,
            timestamp=message.timestamp()[1],
        )
        producer.poll(0)
        pending += 1
        if pending == options.transaction_records:
            position = consumer.position(consumer.assignment())
            producer.send_offsets_to_transaction(position, consumer.consumer_group_metadata())
            producer.commit_transaction()
            pending = 0


def relay(options: argparse.Namespace) -> None:
    """Copy batches."""
    consumer = Consumer({**_consumer(options), "queued.max.messages.kbytes": 131_072})
    producer = Producer(
        {
            "bootstrap.servers": options.bootstrap,
            "transactional.id": options.group,
            "retry.backoff.ms": 2,  # not 100: what every commit after a commit waits
            "linger.ms": 5,
            "queue.buffering.max.messages": 100_000,
        }
    )
    producer.init_transactions()
    consumer.subscribe([options.topic])
    while True:
        messages = consumer.consume(options.transaction_records, 1.0)
        if not messages:
            continue
        producer.begin_transaction()
        copies = [{"value": m.value(), "key": m.key()} for m in messages]
        producer.produce_batch(options.output, copies, partition=0)
        producer.flush()
        done = TopicPartition(options.topic, 0, (messages[-1].offset() or 0) + 1)
        producer.send_offsets_to_transaction([done], consumer.consumer_group_metadata())
        producer.commit_transaction()


def pace(options: argparse.Namespace) -> None:
    """Send records at a steady rate, each with the time of its sending, in nanoseconds, for a key."""
    producer = Producer({"bootstrap.servers": options.bootstrap, "linger.ms": 0, "acks": "all"})
    records = values(1_000)
    sent, start = 0, time.perf_counter()
    while True:
        due = int((time.perf_counter() - start) * options.rate)
        for index in range(sent, due):
            producer.produce(options.topic, records[index % len(records)], b"%d" % time.time_ns(), partition=0)
        sent = max(sent, due)
        producer.poll(_TICK_SECS)


def _consumer(options: argparse.Namespace) -> dict[str, str | int | float | bool | None]:
    return {
        "bootstrap.servers": options.bootstrap,
        "group.id": options.group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
    }


LOOPS: Final[dict[str, Callable[[argparse.Namespace], None]]] = {"plain": plain, "relay": relay, "pace": pace}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one loop until the process is asked to end."""
    parser = argparse.ArgumentParser(prog="python -m tests.perf.loops", description=__doc__)
    parser.add_argument("loop", choices=LOOPS)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--output")
    parser.add_argument("--group")
    parser.add_argument("--model", help="ONNX file")
    parser.add_argument("--transaction-records", type=int)
    parser.add_argument("--rate", type=int, help="records a second")
    options = parser.parse_args(arguments)
    # The loops have no end of their own; what is open when the measurement is over is nobody's concern.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    LOOPS[options.loop](options)


if __name__ == "__main__":
    main()
