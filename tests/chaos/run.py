"""One run of chaos, from an empty topic to a verdict."""

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread

import numpy as np
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from millrace.codec.reading import read_prediction
from millrace.core.errors import TransientError
from millrace.core.records import OutputBatch, RecordBatch
from millrace.kafka.admin import Admin, TopicSpec
from millrace.kafka.reading import Reader, Until
from millrace.kafka.writing import Writer
from millrace.process.settings import Settings
from millrace.serving.registry import Registry
from millrace.serving.shelf import Shelf
from millrace.testing.broker import Broker
from millrace.testing.models import linear_bundle
from millrace.testing.waiting import Deadline
from tests.chaos.plan import Fault, Plan
from tests.chaos.verdict import Seen, Verdict, judge
from tests.chaos.workers import Workers

_KEYS = 1_000
_DRAIN = timedelta(minutes=3)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a run.

    Attributes:
        plan: What was done.
        during: The verdict on what a reader saw while it happened.
        after: The verdict on what a reader saw of the whole topic afterwards.
        scored_again: Predictions that were written and taken back, as a share of those that count.
        seconds: From the first record to the last prediction.
        longest_silence_secs: Longest time without a readable prediction.
        exit_codes: Of the scorers, when they were asked to stop at the end.
    """

    plan: Plan
    during: Verdict
    after: Verdict
    scored_again: float
    seconds: float
    longest_silence_secs: float
    exit_codes: list[int]

    @property
    def is_clean(self) -> bool:
        """Whether every reader saw every record's prediction once, in order, and every scorer stopped orderly."""
        return self.during.is_clean and self.after.is_clean and not any(self.exit_codes)

    def to_json(self) -> str:
        """One line."""
        return json.dumps({"figure": "chaos", "clean": self.is_clean, **asdict(self)})


def run(plan: Plan, broker: Broker, say: Say) -> Result:
    """Carry out a plan."""
    name = f"chaos-{plan.seed}-{time.time_ns() // 1_000_000}"
    source, target = f"{name}.features", f"{name}.predictions"
    Admin(broker.kafka).ensure_topics([TopicSpec(topic, plan.partitions) for topic in (source, target)])
    with tempfile.TemporaryDirectory(prefix="millrace-chaos-") as folder:
        home = Path(folder)
        environment = {
            "MILLRACE_HOME": str(home / "home"),
            "MILLRACE_KAFKA__BOOTSTRAP": broker.bootstrap,
            "MILLRACE_LANE": plan.lane.value,
        }
        _push_model(broker, home, name)
        workers = Workers(_deployment(home, name, plan), environment, home / "log", count=plan.scorers)
        with workers, _watching(broker, target) as watch, _feeding(broker, source, plan):
            _strike(plan, workers, say)
            watch.wait_for(plan.records, say)
            exit_codes = workers.stop()
        log = (home / "log").read_text(encoding="utf-8", errors="replace")
    if any(exit_codes):
        say("\n".join(log.splitlines()[-20:]))
    expected = _offsets(broker, source)
    whole = _predictions(broker, target)
    taken_back = _written(broker, target) - whole.count
    return Result(
        plan=plan,
        during=judge(watch.seen.offsets, expected),
        after=judge(whole.offsets, expected),
        scored_again=round(taken_back / plan.records, 4),
        seconds=round(watch.seconds, 1),
        longest_silence_secs=round(watch.longest_silence, 1),
        exit_codes=exit_codes,
    )


def _strike(plan: Plan, workers: Workers, say: Say) -> None:
    """Carry out the plan's strikes; every scorer runs again in the end."""
    for number, strike in enumerate(plan.strikes(), 1):
        _pause(strike.after)
        for slot in range(plan.scorers):
            if not workers.is_running(slot):  # a zombie may have ended itself, as it should when it was fenced for good
                workers.start(slot)
        say(f"{number}/{plan.kills + plan.freezes} {strike.fault} scorer {strike.slot} for {strike.lasting:.1f} s")
        if strike.fault is Fault.KILL:
            workers.kill(strike.slot)
            _pause(strike.lasting)
            workers.start(strike.slot)
        else:
            workers.freeze(strike.slot)
            _pause(strike.lasting)
            workers.thaw(strike.slot)


def _pause(seconds: float) -> None:
    time.sleep(seconds)


class _Watch:
    """A reader of committed predictions that was there all the time."""

    def __init__(self, broker: Broker, topic: str) -> None:
        self.seen = Seen()
        self.longest_silence = 0.0
        self.seconds = 0.0
        self._stopping = Event()
        self._reader = Reader(broker.kafka, topic, until=Until.STOPPED)
        self._thread = Thread(target=self._watch, name="watch")
        self._thread.start()

    def wait_for(self, records: int, say: Say) -> None:
        """Until that many predictions were seen, or for as long as it may take to be sure that they are lost."""
        deadline = Deadline.after(_DRAIN)
        while self.seen.count < records and not deadline.has_passed:
            say(f"{self.seen.count} of {records} predictions are readable")
            _pause(1)

    def close(self) -> None:
        self._stopping.set()
        self._thread.join()
        self._reader.close()

    def _watch(self) -> None:
        begun: float | None = None
        last = time.monotonic()
        while not self._stopping.is_set():
            try:
                batch = self._reader.read()
            except TransientError:
                continue
            if not len(batch):
                continue
            now = time.monotonic()
            begun = now if begun is None else begun
            self.longest_silence = max(self.longest_silence, now - last) if begun != now else 0.0
            last = now
            self.seconds = now - begun
            _note(self.seen, batch)


@contextmanager
def _watching(broker: Broker, topic: str) -> Iterator[_Watch]:
    watch = _Watch(broker, topic)
    try:
        yield watch
    finally:
        watch.close()


@contextmanager
def _feeding(broker: Broker, topic: str, plan: Plan) -> Iterator[None]:
    """Send the plan's records, spread over the time that its strikes take."""
    lasting = sum(strike.after + strike.lasting for strike in plan.strikes())
    numbers = np.array_split(np.arange(plan.records), max(int(lasting * 10), 1))
    stopping = Event()

    def feed() -> None:
        with Writer(broker.kafka) as writer:
            for some in numbers:
                if stopping.wait(lasting / len(numbers)):
                    return
                writer.write(_records(topic, some, plan.partitions))
                writer.flush()

    thread = Thread(target=feed, name="feed")
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def _records(topic: str, numbers: np.ndarray[tuple[int], np.dtype[np.int64]], partitions: int) -> OutputBatch:
    keys = numbers % _KEYS
    values = [b'{"a": %d, "b": 0.5, "c": -1}' % number for number in numbers.tolist()]
    stamps = np.full(len(numbers), time.time_ns() // 1_000_000, np.int64)
    return OutputBatch(topic, (keys % partitions).astype(np.int32), stamps, [b"k%d" % key for key in keys], values)


def _push_model(broker: Broker, home: Path, name: str) -> None:
    settings = Settings(home=home / "home")
    with Registry(broker.kafka, Shelf.of(settings), who="chaos") as registry:
        registry.push(linear_bundle(home / "bundle", name=f"{name}-model").directory)


def _deployment(home: Path, name: str, plan: Plan) -> Path:
    path = home / "deployment.yaml"
    document = {
        "deployment": name,
        "source": {"topic": f"{name}.features"},
        "model": f"{name}-model",
        "batch": {"max_records": 200, "transaction_records": 400},
        "group": {"session_timeout_ms": int(plan.session_secs * 1000)},
    }
    path.write_text(json.dumps(document))
    return path


def _note(seen: Seen, batch: RecordBatch) -> None:
    for value, partition in zip(batch.values, batch.partitions.tolist(), strict=True):
        source = read_prediction(value)["source"]
        assert source["partition"] == partition
        seen.add(partition, source["offset"])


def _predictions(broker: Broker, topic: str) -> Seen:
    seen = Seen()
    with Reader(broker.kafka, topic) as reader:
        for batch in reader:
            _note(seen, batch)
    return seen


def _offsets(broker: Broker, topic: str) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    with Reader(broker.kafka, topic) as reader:
        for batch in reader:
            for partition, offset in zip(batch.partitions.tolist(), batch.offsets.tolist(), strict=True):
                found.setdefault(partition, []).append(offset)
    return found


def _written(broker: Broker, topic: str) -> int:
    """How many predictions lie in the log, those of aborted transactions included."""
    consumer = Consumer(
        {
            "bootstrap.servers": broker.bootstrap,
            "group.id": "unused",
            "isolation.level": "read_uncommitted",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
        }
    )
    partitions = Admin(broker.kafka).partition_counts([topic])[topic]
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(partitions)])
    written, ended = 0, 0
    while ended < partitions:
        for message in consumer.consume(10_000, 1.0):
            error = message.error()
            written += error is None
            ended += error is not None and error.code() == KafkaError._PARTITION_EOF
    consumer.close()
    return written
