"""The client: everything a program can ask of millrace, behind one name."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from millrace.client.audits import Audit, AuditAlert, read_alerts, read_audits
from millrace.client.copying.ports import CopyOptions
from millrace.client.copying.running import Copied, OnCopied, copy
from millrace.client.dead_letters import (
    DeadLetter,
    Replayed,
    ReplayOptions,
    dead_letters_topic,
    read_dead_letters,
    replay_dead_letters,
)
from millrace.client.dead_letters import OnInvalid as OnInvalidLetter
from millrace.client.deployments import the_deployment
from millrace.client.explaining import Explanation, explain, source_of
from millrace.client.identity import who_am_i
from millrace.client.labels import Label, send_labels
from millrace.client.lineage import Lineage, trace
from millrace.client.local import find_kafka
from millrace.client.models import Models
from millrace.client.predictions import OnInvalid, OnLink, Prediction, predictions_topic, read_predictions
from millrace.client.replaying import RangeOptions, RangeReplayed, replay
from millrace.client.report import WINDOWS, compose, gather, render
from millrace.client.retraining import read_loop, request_retraining
from millrace.client.sending import OnSent, SendOptions, Sent, send
from millrace.client.sources import Source
from millrace.client.transforms import Transforms
from millrace.core.records import Coordinates
from millrace.kafka.reading import Position, Start, Until, find
from millrace.process.deployment import Deployment
from millrace.process.retraining import LoopAnswer, Requested
from millrace.process.settings import KafkaSettings, Settings
from millrace.serving.registry import Registry
from millrace.serving.shelf import Shelf


class Client:
    """A connection to one cluster. Holds no resources between calls; use as a context manager or not.

    Example::

        with Client() as client:
            client.send("weather", Path("weather.csv"), SendOptions(key_field="station"))
            for prediction in client.predictions("rain", start=Position.EARLIEST, until=Until.NOW):
                print(prediction.event_id, prediction.label)

    Args:
        kafka: The cluster: settings, or broker addresses, or None for the environment's or else the local broker.

    Raises:
        RequestError: No broker is named, and no local one runs.
    """

    def __init__(self, kafka: KafkaSettings | str | None = None) -> None:
        self.kafka = kafka if isinstance(kafka, KafkaSettings) else find_kafka(kafka)

    @property
    def models(self) -> Models:
        """The models of the cluster."""
        return Models(self.kafka)

    @property
    def transforms(self) -> Transforms:
        """The transforms of the cluster."""
        return Transforms(self.kafka)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Nothing to release; the form is kept for what will be held one day."""

    def send(
        self, topic: str, source: Source, options: SendOptions | None = None, *, on_sent: OnSent | None = None
    ) -> Sent:
        """Write every row of a file, table or iterable to a topic. See `millrace.client.sending.send`."""
        return send(self.kafka, topic, source, options, on_sent=on_sent)

    def copy(
        self,
        source: str,
        sink: str,
        options: CopyOptions | None = None,
        *,
        dead_letters: Path | None = None,
        on_copied: OnCopied | None = None,
    ) -> Copied:
        """Write what a source has and a sink lacks, by URI. See `millrace.client.copying.running.copy`."""
        return copy(self.kafka, source, sink, options, dead_letters=dead_letters, on_copied=on_copied)

    def labels(self, stream: str, labels: Iterable[Label]) -> int:
        """Write labels to `<stream>.labels`. See `millrace.client.labels.send_labels`."""
        return send_labels(self.kafka, stream, labels)

    def retrain(self, model: str, *, since: datetime | None = None) -> Requested:
        """Ask the trainer of a model for a better version than its champion. Returns at once, with the request.

        Args:
            model: The model's name.
            since: Learn from no older records.

        Raises:
            RequestError: There is no such model.
            TransientError: No broker answers.
            FatalError: The broker refuses this client.
        """
        champion = self.models.show(model).version.entry.version
        return request_retraining(self.kafka, model, champion, now=datetime.now(UTC), since=since)

    def retrain_requests(
        self, model: str, *, loop_id: str | None = None, until: Until = Until.NOW
    ) -> Iterator[Requested | LoopAnswer]:
        """Requests for better versions of a model and their answers. See `millrace.client.retraining.read_loop`."""
        return read_loop(self.kafka, model, loop_id=loop_id, until=until)

    def subscribe(
        self,
        deployment: str,
        *,
        start: Start = Position.LATEST,
        until: Until = Until.STOPPED,
        on_invalid: OnInvalid | None = None,
        on_link: OnLink | None = None,
    ) -> Iterator[Sequence[Prediction]]:
        """Committed predictions as they come, several at a time; an empty sequence when none came for 0.2 s.

        See `millrace.client.predictions.read_predictions`.
        """
        return read_predictions(
            self.kafka, predictions_topic(deployment), start=start, until=until, on_invalid=on_invalid, on_link=on_link
        )

    def predictions(
        self,
        deployment: str,
        *,
        start: Start = Position.LATEST,
        until: Until = Until.STOPPED,
        on_invalid: OnInvalid | None = None,
    ) -> Iterator[Prediction]:
        """Committed predictions, one by one, in the order of each partition. Blocks while there are none."""
        for some in self.subscribe(deployment, start=start, until=until, on_invalid=on_invalid):
            yield from some

    def audits(self, deployment: str, *, start: Start = Position.EARLIEST, until: Until = Until.NOW) -> Iterator[Audit]:
        """Reports on a deployment, oldest first. See `millrace.client.audits.read_audits`."""
        return read_audits(self.kafka, deployment, start=start, until=until)

    def alerts(
        self, deployment: str, *, start: Start = Position.EARLIEST, until: Until = Until.NOW
    ) -> Iterator[AuditAlert]:
        """Changes of a deployment's alerts, oldest first. See `millrace.client.audits.read_alerts`."""
        return read_alerts(self.kafka, deployment, start=start, until=until)

    def report_page(self, deployment: str, *, document: Deployment | Path | None = None, windows: int = WINDOWS) -> str:
        """Everything that is known of a deployment's audit as one page of HTML: no network, no scripts. Takes seconds.

        Args:
            deployment: Its name.
            document: Its document or the file of it; looked up in `millrace.deployments` where absent.
            windows: How many reports the page shows at most, the newest ones.

        Raises:
            RequestError: No auditor has run for the deployment, its document is not valid, or the extra `report` of
                the distribution is not installed.
            InvalidRecordError: A record is no report, or no alert.
            TransientError: No broker answers.
            FatalError: The broker refuses this client.
        """
        known = Deployment.load(document) if isinstance(document, Path) else document
        return render(compose(gather(self.kafka, deployment, now=datetime.now(UTC), document=known, windows=windows)))

    def dead_letters(
        self,
        deployment: str,
        *,
        start: Start = Position.EARLIEST,
        until: Until = Until.NOW,
        on_invalid: OnInvalidLetter | None = None,
    ) -> Iterator[DeadLetter]:
        """Records that could not be scored, and why. See `millrace.client.dead_letters.read_dead_letters`."""
        topic = dead_letters_topic(deployment)
        return read_dead_letters(self.kafka, topic, start=start, until=until, on_invalid=on_invalid)

    def replay_dead_letters(
        self,
        deployment: str,
        options: ReplayOptions | None = None,
        *,
        on_refused: Callable[[DeadLetter], None] | None = None,
    ) -> Replayed:
        """Send dead letters back to where they came from. See `millrace.client.dead_letters.replay_dead_letters`."""
        return replay_dead_letters(self.kafka, dead_letters_topic(deployment), options, on_refused=on_refused)

    def replay(
        self,
        what: str,
        options: RangeOptions,
        *,
        on_planned: Callable[[int], None] = lambda offsets: None,
        on_records: Callable[[int], None] = lambda records: None,
    ) -> RangeReplayed:
        """Score a range again with any version, and compare: `millrace.client.replaying.replay`."""
        with Registry(self.kafka, Shelf.of(Settings.load()), who=who_am_i()) as registry:
            return replay(self.kafka, registry, what, options, on_planned=on_planned, on_records=on_records)

    def explain(self, coordinates: Coordinates, deployment: str | Path | None = None) -> Explanation:
        """Find a record and its outcome, score it again, and compare to the last bit.

        Args:
            coordinates: Where the record lies, or its prediction.
            deployment: Whose outcome is wanted: a name, or a document's file; None where it can be guessed.

        Raises:
            RequestError: The record is not there, or the deployment cannot be found.
            TransientError: No broker answers.
            FatalError: The broker refuses this client.
        """
        source = source_of(self.kafka, coordinates)
        record = find(self.kafka, source)
        meant = the_deployment(self.kafka, deployment, source)
        return explain(self.kafka, Shelf.of(Settings.load()), record, meant, row=source.row)

    def lineage(self, coordinates: Coordinates, deployment: str | None = None) -> Lineage:
        """Everything that a prediction rests on. See `millrace.client.lineage.trace`."""
        return trace(self.kafka, Shelf.of(Settings.load()), coordinates, deployment)
