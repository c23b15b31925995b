"""What the log and the processes tell about how well things go: figures, reports, dead letters, models."""

import ssl
from collections.abc import Mapping
from dataclasses import asdict
from heapq import nlargest
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

import httpx

from millrace.client.audits import ALERTS_TOPIC, audits_topic, newest_reports, open_alerts, read_alerts, read_audits
from millrace.client.dead_letters import dead_letters_topic, read_dead_letters
from millrace.core.clock import Clock
from millrace.core.control.fleet import Slot
from millrace.core.errors import MillraceError, RequestError, TransientError
from millrace.core.records import Coordinates
from millrace.kafka.admin import Admin
from millrace.kafka.control import ControlView
from millrace.kafka.control_writer import MODELS_TOPIC
from millrace.process.settings import KafkaSettings, Settings
from millrace.serving.catalogue import aliases, versions
from millrace_launcher.adapters.rest.findings import findings_on
from millrace_launcher.adapters.sampling import Sampler
from millrace_launcher.adapters.view import FleetView
from millrace_launcher.logic.answers import answer

if TYPE_CHECKING:
    from millrace.client.models import Models

Document: TypeAlias = dict[str, Any]
"""A JSON object."""

_PATIENCE_SECS: Final = 3.0
_FRESH_SECS: Final = 5.0
"""Reports come once a window: whoever asks more often is told the same."""
_REMEMBERED: Final = 32
"""Deployments whose reports are remembered."""


class Insights:
    """Answers for one daemon. Shared by threads; close it, or use it in a `with`.

    All methods raise RequestError for what does not exist, and TransientError without a broker.

    Args:
        kafka: The cluster.
        settings: Where model files are kept.
        view: The fleet.
        sampler: The figures of this node's processes.
        node: This node's name.
        token: What other nodes want to be shown.
        trust: Whose certificates are trusted where other nodes speak TLS.
        clock: The system's.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        settings: Settings,
        view: FleetView,
        sampler: Sampler,
        *,
        node: str,
        token: str,
        trust: ssl.SSLContext,
        clock: Clock,
    ) -> None:
        self._kafka = kafka
        self._settings = settings
        self._view = view
        self._sampler = sampler
        self._node = node
        self._token = token
        self._trust = trust
        self._clock = clock
        self._admin = Admin(kafka)
        self._lock = Lock()
        self._audits: dict[str, tuple[float, Document]] = {}
        self._models = ControlView(kafka, MODELS_TOPIC)
        try:
            self._models.follow(lambda _: None)
        except BaseException:
            self._models.close()
            raise

    def series(self, slot: Slot) -> Mapping[str, Any]:
        """The figures of a slot over the last hour, from whichever node it runs on."""
        assignment = self._view.assignments().get(slot)
        node = self._node if assignment is None or assignment.node is None else assignment.node
        if node == self._node:
            return self._sampler.series(slot)
        heartbeat = self._view.heartbeat(node)
        if heartbeat is None:
            raise RequestError(f"the figures of {slot} are on node {node}, which is gone", remedy="bring the node back")
        return self._ask(f"{heartbeat.url}/v1/processes/{slot}/series", what=f"the figures of {slot}")

    def audits(self, deployment: str, *, last: int) -> Document:
        """The newest reports of the last windows, oldest first, and the alerts that are open."""
        found = self._reports(deployment)
        return {**found, "windows": found["windows"][-last:]}

    def answers(self, deployment: str) -> list[Document]:
        """The four questions about a deployment: is it observed, does it fail, does it learn, is it balanced?"""
        return [asdict(each) for each in answer(findings_on(deployment, self._view, self))]

    def dead_letters(self, deployment: str, *, most: int) -> list[Document]:
        """The newest dead letters, the newest first; none where no scorer made the topic yet."""
        known = self._view.desired().deployments.get(deployment)
        topic = dead_letters_topic(deployment) if known is None else known.dead_letters_topic
        if topic not in self._admin.topic_names():
            return []
        ends = self._admin.ends([topic])
        # Each transaction takes offsets that no reader sees: one more for each letter at the most.
        start = {found.partition: max(end.start, end.stable - 2 * most) for found, end in ends.items()}
        letters = read_dead_letters(self._kafka, topic, start=start, on_invalid=_pass_over)
        newest = nlargest(most, letters, key=lambda letter: (letter.timestamp_ms, letter.at))
        return [letter.document() for letter in newest]

    def models(self) -> list[Document]:
        """All versions of all models, with the aliases that name them."""
        table = self._models.table
        return [
            {
                **entry.model_dump(mode="json", exclude_none=True),
                "aliases": sorted(a for a, v in aliases(table, entry.name).items() if v == entry.version),
            }
            for entry in versions(table)
        ]

    def model(self, name: str, version: int) -> Document:
        """Everything that is known of a version."""
        return self._registry().show(f"{name}/{version}").document()

    def promote(self, name: str, version: int, *, who: str) -> Document:
        """Make a version the champion; scorers switch between two micro-batches."""
        return self._registry(who).promote(f"{name}/{version}").document()

    def rollback(self, name: str, *, who: str) -> Document:
        """Make the version the champion that was it before."""
        return self._registry(who).rollback(name).document()

    def close(self) -> None:
        """Release everything."""
        self._models.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _registry(self, who: str | None = None) -> "Models":
        from millrace.client.models import Models  # noqa: PLC0415 -- it loads 50 MB that most daemons never need

        return Models(self._kafka, self._settings, who=who)

    def _reports(self, deployment: str) -> Document:
        now = self._clock.monotonic()
        with self._lock:
            read_at, known = self._audits.pop(deployment, (now, None))
            if known is None or now - read_at > _FRESH_SECS:
                read_at, known = now, self._read_reports(deployment)
            self._audits[deployment] = (read_at, known)
            while len(self._audits) > _REMEMBERED:
                self._audits.pop(next(iter(self._audits)))
        return known

    def _read_reports(self, deployment: str) -> Document:
        topics = self._admin.topic_names()
        reports = read_audits(self._kafka, deployment) if audits_topic(deployment) in topics else ()
        alerts = read_alerts(self._kafka, deployment) if ALERTS_TOPIC in topics else ()
        windows = newest_reports(each for each in reports if each.segment == "*")
        return {
            "windows": [each.document() for each in windows],
            "alerts": [each.document() for each in open_alerts(alerts, windows)],
        }

    def _ask(self, url: str, *, what: str) -> Mapping[str, Any]:
        headers = {"Authorization": f"Bearer {self._token}"}
        try:
            answer = httpx.get(url, headers=headers, timeout=_PATIENCE_SECS, verify=self._trust, trust_env=False)
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise TransientError(f"{what} are at {url}, which does not give them: {error}") from error
        found: Mapping[str, Any] = answer.json()
        return found


def _pass_over(at: Coordinates, error: MillraceError) -> None:
    """A record that is no dead letter is shown to nobody."""
