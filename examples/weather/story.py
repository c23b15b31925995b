"""The story in its order: topics, training, scorer, replay, recount.

Everything it needs of the broker is an address, so that it runs on a broker of its own (`make demo`) and on one that a
test shares.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from examples.weather.audience import Audience, Letter, Truth
from examples.weather.days import Days, damage
from examples.weather.display import Display, OnSnapshot
from examples.weather.recount import Recount, recount
from examples.weather.replay import Replay
from examples.weather.scorer import Scorer, running_scorer
from examples.weather.tally import CHANGE, Answer, Latency, Period, Snapshot, Tally
from examples.weather.training import TRAINING_END, make_bundle
from millrace.client.predictions import read_predictions
from millrace.codec.dead_letters import DeadLetter, read_dead_letter
from millrace.core.clock import Clock
from millrace.core.records import Coordinates
from millrace.kafka.admin import Admin, TopicSpec
from millrace.kafka.reading import Position, Reader, Until
from millrace.process.deployment import Deployment
from millrace.process.settings import KafkaSettings, Settings
from millrace.serving.registry import Registry
from millrace.serving.shelf import Shelf

_FRAME: Final = timedelta(milliseconds=200)
_PATIENCE_SECS: Final = 20.0
"""How long to wait for what is still missing after the last record was sent; then the recount says what is lost."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to play.

    Attributes:
        deployment: The deployment document.
        home: Folder of model files and the scorer's log.
        first: The first day of the stream; training ends before it.
        end: The day after the last.
        seconds: How long the replay takes.
        partitions: Partitions of each topic.
    """

    deployment: Path
    home: Path
    first: int = TRAINING_END
    end: int = 18_159
    seconds: float = 40.0
    partitions: int = 4


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it ended.

    Attributes:
        recount: What lies in the topics.
        before: Accuracy of the days before the world changed.
        after: Accuracy of the days since.
        dry_after: Share of dry days since: how often a model would be right that always says so.
        last: What was known at the end.
        latency: Of all predictions.
        seconds: From the first record to the last prediction.
        letters: The dead letters' own stories.
    """

    recount: Recount
    before: Period
    after: Period
    dry_after: float
    last: Snapshot
    latency: Latency | None
    seconds: float
    letters: tuple[DeadLetter, ...]


def tell(plan: Plan, *, kafka: KafkaSettings, display: Display, clock: Clock) -> Outcome:
    """Play the whole story on a running broker, and return when scorer and subscriptions have ended.

    Raises:
        MillraceError: Some part failed; the error says which and what to do.
    """
    deployment = Deployment.load(plan.deployment)
    days = Days.load()
    stream = days.between(plan.first, plan.end)
    labels = labels_topic(deployment)
    with display.step("Topics"):
        make_topics(kafka, deployment, partitions=plan.partitions)
    with display.step(f"Training on {TRAINING_END:,} days"):
        push_model(days.between(0, TRAINING_END), plan, deployment, kafka=kafka, clock=clock)
    with _ready_scorer(plan, kafka, display, clock) as scorer:
        replay = Replay(kafka, deployment.source.topic, labels, stream, damage(stream), plan.seconds, clock)
        with Audience(kafka, deployment, labels, clock) as audience, display.live() as show:
            tally, last, seconds = _watch(replay, audience, scorer, show, clock)
    with display.step("Reading every topic back"):
        counted = count_again(kafka, deployment)
        letters = tuple(read_letters(kafka, deployment))
    changed = stream.between(max(CHANGE, stream.first), stream.end)
    return Outcome(
        recount=counted,
        before=tally.period(stream.first, CHANGE),
        after=tally.period(CHANGE, stream.end),
        dry_after=1 - float(changed.rain.mean()),
        last=last,
        latency=tally.latency,
        seconds=seconds,
        letters=letters,
    )


def labels_topic(deployment: Deployment) -> str:
    """Topic of the truth about the deployment's stream."""
    return f"{deployment.source.topic.removesuffix('.features')}.labels"


def make_topics(kafka: KafkaSettings, deployment: Deployment, *, partitions: int) -> None:
    """Create the topics of the stream and of the deployment, all with as many partitions."""
    names = (
        deployment.source.topic,
        labels_topic(deployment),
        deployment.predictions_topic,
        deployment.dead_letters_topic,
    )
    Admin(kafka).ensure_topics([TopicSpec(name, partitions) for name in names])


def push_model(days: Days, plan: Plan, deployment: Deployment, *, kafka: KafkaSettings, clock: Clock) -> None:
    """Train, and push the model under the name that the deployment asks for; the first version is its champion."""
    name = deployment.model.partition("@")[0]
    created_at = datetime.fromtimestamp(clock.wall_ms() / 1000, UTC)
    shelf = Shelf.of(Settings(home=plan.home))
    with TemporaryDirectory(prefix="millrace-") as folder, Registry(kafka, shelf, who="weather story") as registry:
        bundle = make_bundle(days, name=name, directory=Path(folder) / "bundle", created_at=created_at)
        registry.push(bundle.directory)


@contextmanager
def _ready_scorer(plan: Plan, kafka: KafkaSettings, display: Display, clock: Clock) -> Iterator[Scorer]:
    with running_scorer(plan.deployment, kafka=kafka, home=plan.home) as scorer:
        with display.step("Starting the scorer"):
            scorer.wait_ready(clock)
        yield scorer


def _watch(
    replay: Replay, audience: Audience, scorer: Scorer, show: OnSnapshot, clock: Clock
) -> tuple[Tally, Snapshot, float]:
    """Follow the stream to its end; what was seen, and how many seconds it took."""
    tally = Tally(replay.days.first, replay.days.end)
    started = latest = clock.monotonic()
    replay.start()
    try:
        while not _has_ended(replay, tally, silent_secs=clock.monotonic() - latest):
            for seen in audience.seen(_FRAME):
                _add(tally, seen)
                latest = clock.monotonic()
            scorer.check()
            show(tally.snapshot(sent=replay.sent, now_secs=clock.monotonic()))
    finally:
        replay.stop()
    return tally, tally.snapshot(sent=replay.sent, now_secs=latest), latest - started


def _has_ended(replay: Replay, tally: Tally, *, silent_secs: float) -> bool:
    if not replay.is_done:
        return False
    is_complete = tally.received >= replay.sent and tally.labels >= len(replay.days)
    return is_complete or silent_secs > _PATIENCE_SECS


def _add(tally: Tally, seen: Answer | Truth | Letter) -> None:
    match seen:
        case Answer():
            tally.add_answer(seen)
        case Truth(day, label):
            tally.add_truth(day, label)
        case Letter(reason):
            tally.add_dead_letter(reason)


def count_again(kafka: KafkaSettings, deployment: Deployment) -> Recount:
    """Read the features, predictions and dead letters from their beginnings, and compare."""
    topic = deployment.predictions_topic
    return recount(
        _places(kafka, deployment.source.topic),
        (
            one.source
            for some in read_predictions(kafka, topic, start=Position.EARLIEST, until=Until.NOW)
            for one in some
        ),
        (letter.source for letter in read_letters(kafka, deployment)),
    )


def read_letters(kafka: KafkaSettings, deployment: Deployment) -> Iterator[DeadLetter]:
    """The stories of all dead letters."""
    with Reader(kafka, deployment.dead_letters_topic) as reader:
        for batch in reader:
            yield from map(read_dead_letter, batch.headers)


def _places(kafka: KafkaSettings, topic: str) -> Iterator[Coordinates]:
    with Reader(kafka, topic) as reader:
        for batch in reader:
            yield from map(batch.coordinates, range(len(batch)))
