"""The story in its order: topics, training, the processes, replay, recount.

Everything it needs of the broker is an address, so that it runs on a broker of its own (`make demo`) and on one that a
test shares.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from examples.weather.audience import Audience, FrozenAnswer, Letter, Seen, Truth
from examples.weather.bars import SETTLED, Bar, bars
from examples.weather.days import Days, damage
from examples.weather.display import Display, OnSnapshot
from examples.weather.interruption import Interruption
from examples.weather.launching import Fleet, launched
from examples.weather.loop import ALERT_DAYS, Loop
from examples.weather.recount import Recount, recount
from examples.weather.replay import Replay
from examples.weather.tally import CHANGE, Answer, Latency, Period, Snapshot, Tally
from examples.weather.training import TRAINING_END, make_bundle
from millrace.client.audits import Audit, AuditAlert
from millrace.client.client import Client
from millrace.client.predictions import read_predictions
from millrace.codec.dead_letters import DeadLetter, read_dead_letter
from millrace.core.clock import Clock
from millrace.core.errors import TransientError
from millrace.core.records import Coordinates
from millrace.kafka.admin import Admin, TopicSpec
from millrace.kafka.appending import RETRAIN_TOPIC
from millrace.kafka.reading import Position, Reader, Until
from millrace.process.deployment import Deployment
from millrace.process.settings import KafkaSettings, Settings
from millrace.serving.registry import Registry
from millrace.serving.shelf import Shelf

_FRAME: Final = timedelta(milliseconds=200)
_FOREVER: Final = {"retention.ms": "-1"}
"""The records' times are decades ago; a broker would delete them after a week."""
_DAY_SECS: Final = 86_400
_STUCK_SECS: Final = 120.0
"""How long nothing may come while the stream waits for the loop; a training takes seconds."""

_PATIENCE_SECS: Final = 20.0
"""How long to wait for what is still missing after the last record was sent; then the recount says what is lost."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to play.

    Attributes:
        folder: Folder of the documents `deployment.yaml`, `frozen.yaml` and `training.yaml`.
        home: Folder of model files and logs.
        first: The first day of the stream; training ends before it.
        end: The day after the last.
        days_per_sec: How fast the stream goes while it need not wait for the loop.
        partitions: Partitions of each topic.
        port: Port of the launcher; 9008 or else any where None, any where 0.
        keep: Whether the launcher and what it runs go on when the story has ended well.
    """

    folder: Path
    home: Path
    first: int = TRAINING_END
    end: int = 18_159
    days_per_sec: float = 300.0
    partitions: int = 4
    port: int | None = None
    keep: bool = False

    @property
    def deployment(self) -> Deployment:
        """What is audited and trained again."""
        return Deployment.load(self.folder / "deployment.yaml")

    @property
    def frozen(self) -> Deployment:
        """The first version, for ever."""
        return Deployment.load(self.folder / "frozen.yaml")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it ended.

    Attributes:
        recount: What lies in the topics of the loop's deployment.
        frozen_recount: The same of the first version's.
        periods: Accuracy before the change, since it, and once the loop should have settled.
        frozen_periods: The same of the first version.
        dry_after: Share of dry days since the change: how often a model would be right that always says so.
        bars: What the loop had to reach.
        loop: What the loop did.
        last: What was known at the end.
        latency: Of all predictions.
        seconds: From the first record to the last prediction.
        letters: The dead letters' own stories.
    """

    recount: Recount
    frozen_recount: Recount
    periods: tuple[Period, ...]
    frozen_periods: tuple[Period, ...]
    dry_after: float
    bars: tuple[Bar, ...]
    loop: Loop
    last: Snapshot
    latency: Latency | None
    seconds: float
    letters: tuple[DeadLetter, ...]

    @property
    def is_good(self) -> bool:
        """Whether every record had one fate, and the loop reached what it had to."""
        return self.recount.agrees and self.frozen_recount.agrees and all(bar.is_met for bar in self.bars)


def tell(plan: Plan, *, kafka: KafkaSettings, display: Display, clock: Clock, interruption: Interruption) -> Outcome:
    """Play the whole story on a running broker, and return when subscriptions have ended, and processes unless kept.

    Raises:
        MillraceError: Some part failed; the error says which and what to do.
        KeyboardInterrupt: It was interrupted; nothing that it started runs any more.
    """
    deployment, frozen, days = plan.deployment, plan.frozen, Days.load()
    stream = days.between(plan.first, plan.end)
    with interruption.step(display, "Topics"):
        make_topics(kafka, (deployment, frozen), partitions=plan.partitions)
    with interruption.step(display, f"Training on {TRAINING_END:,} days"):
        push_model(days.between(0, TRAINING_END), plan, deployment, kafka=kafka, clock=clock)
    with _ready_fleet(plan, kafka, display, interruption) as fleet:
        replay = Replay(
            kafka=kafka,
            features=deployment.source.topic,
            labels=deployment.labels_topic,
            days=stream,
            damaged=damage(stream),
            days_per_sec=plan.days_per_sec,
            clock=clock,
        )
        audience = Audience(kafka, deployment, frozen, replay.sent_at_ms, clock, interruption.check)
        with audience, display.live() as show:
            seen = _Seen(Tally(stream.first, stream.end), Loop(stream.first, deployment.audit.window_secs // _DAY_SECS))
            last, seconds = _watch(replay, audience, seen, _Around(fleet, show, clock, interruption))
    with interruption.step(display, "Reading every topic back"):
        counted = [count_again(kafka, each) for each in (deployment, frozen)]
        letters = tuple(read_letters(kafka, deployment))
    tally, spans = seen.tally, ((stream.first, CHANGE), (CHANGE, stream.end), (SETTLED, stream.end))
    return Outcome(
        recount=counted[0],
        frozen_recount=counted[1],
        periods=tuple(tally.period(*span) for span in spans),
        frozen_periods=tuple(tally.frozen_period(*span) for span in spans),
        dry_after=1 - float(stream.between(max(CHANGE, stream.first), stream.end).rain.mean()),
        bars=bars(seen.loop, tally),
        loop=seen.loop,
        last=last,
        latency=tally.latency,
        seconds=seconds,
        letters=letters,
    )


def make_topics(kafka: KafkaSettings, deployments: Sequence[Deployment], *, partitions: int) -> None:
    """Create the topics of the stream and of the deployments, all with as many partitions, and that of the requests.

    Auditor and trainer would create the latter, both at the same moment; a broker at work may not be ready for that.
    """
    names = {
        name
        for each in deployments
        for name in (each.source.topic, each.labels_topic, each.predictions_topic, each.dead_letters_topic)
    }
    Admin(kafka).ensure_topics([*(TopicSpec(name, partitions, _FOREVER) for name in sorted(names)), RETRAIN_TOPIC])


def push_model(days: Days, plan: Plan, deployment: Deployment, *, kafka: KafkaSettings, clock: Clock) -> None:
    """Train, and push the model under the name that the deployment asks for; the first version is its champion."""
    name = deployment.model.partition("@")[0]
    created_at = datetime.fromtimestamp(clock.wall_ms() / 1000, UTC)
    shelf = Shelf.of(Settings(home=plan.home))
    with TemporaryDirectory(prefix="millrace-") as folder, Registry(kafka, shelf, who="weather story") as registry:
        bundle = make_bundle(days, name=name, directory=Path(folder) / "bundle", created_at=created_at)
        registry.push(bundle.directory)


@contextmanager
def _ready_fleet(plan: Plan, kafka: KafkaSettings, display: Display, interruption: Interruption) -> Iterator[Fleet]:
    node = launched(
        (plan.deployment, plan.frozen),
        kafka=kafka,
        home=plan.home,
        port=plan.port,
        keep=plan.keep,
        pause=interruption.pause,
    )
    with ExitStack() as stack:
        with interruption.step(display, "Deploying two scorers, auditor, trainer"):
            fleet = stack.enter_context(node)
        display.say(f"The launcher runs them, and shows them in a browser: {fleet.page}")
        yield fleet


@dataclass(frozen=True, slots=True)
class _Seen:
    """All that the subscriptions have brought."""

    tally: Tally
    loop: Loop

    def add(self, seen: Seen) -> None:
        match seen:
            case Answer():
                self.tally.add_answer(seen)
            case FrozenAnswer(day, label):
                self.tally.add_frozen(day, label)
            case Truth(day, label):
                self.tally.add_truth(day, label)
            case Letter(reason):
                self.tally.add_dead_letter(reason)
            case Audit():
                self.loop.add_report(seen)
            case AuditAlert():
                self.loop.add_alert(seen)
            case _:
                self.loop.add_record(seen)


@dataclass(frozen=True, slots=True)
class _Around:
    """What the stream is followed with."""

    fleet: Fleet
    show: OnSnapshot
    clock: Clock
    interruption: Interruption


def _watch(replay: Replay, audience: Audience, seen: _Seen, around: _Around) -> tuple[Snapshot, float]:
    """Follow the stream to its end; what is known then, and how many seconds it took."""
    tally, loop, clock = seen.tally, seen.loop, around.clock

    def snapshot() -> Snapshot:
        return tally.snapshot(sent=replay.sent, now_secs=clock.monotonic())

    started = latest = clock.monotonic()
    replay.start()
    try:
        while not _has_ended(replay, seen, silent_secs=clock.monotonic() - latest):
            around.interruption.check()
            _check_flow(loop, silent_secs=clock.monotonic() - latest)
            replay.allow(loop.reach(replay.today))
            for one in audience.seen(_FRAME):
                seen.add(one)
                latest = clock.monotonic()
            around.fleet.check()
            around.show(snapshot(), loop)
    finally:
        replay.stop()
    return snapshot(), latest - started


def _check_flow(loop: Loop, *, silent_secs: float) -> None:
    """Do not wait for ever for a loop that hangs."""
    if silent_secs > _STUCK_SECS:
        waits = "the trainer answers" if loop.is_asking else f"the auditor reports beyond day {loop.audited:,}"
        raise TransientError(
            f"nothing has come for {_STUCK_SECS:.0f} seconds, and the stream waits until {waits}",
            remedy="ask `millrace why rain`, and `millrace logs rain/auditor/0`",
        )


def _has_ended(replay: Replay, seen: _Seen, *, silent_secs: float) -> bool:
    if not replay.is_done:
        return False
    tally, loop = seen.tally, seen.loop
    is_complete = tally.received >= replay.sent and tally.labels >= len(replay.days) and tally.is_level
    is_settled = loop.audited + ALERT_DAYS >= tally.end and not loop.is_asking
    return (is_complete and is_settled) or silent_secs > _PATIENCE_SECS


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


def write_page(plan: Plan, kafka: KafkaSettings) -> Path:
    """Write the auditor's report page into the story's folder."""
    page = plan.home / "rain.html"
    client = Client(kafka)
    page.write_text(client.report_page(plan.deployment.deployment, document=plan.deployment), "utf-8")
    return page


def read_letters(kafka: KafkaSettings, deployment: Deployment) -> Iterator[DeadLetter]:
    """The stories of all dead letters."""
    with Reader(kafka, deployment.dead_letters_topic) as reader:
        for batch in reader:
            yield from map(read_dead_letter, batch.headers)


def _places(kafka: KafkaSettings, topic: str) -> Iterator[Coordinates]:
    with Reader(kafka, topic) as reader:
        for batch in reader:
            yield from map(batch.coordinates, range(len(batch)))
