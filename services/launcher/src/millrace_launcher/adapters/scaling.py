"""The autoscaler: while this node's daemon is the controller, numbers of scorers follow the load."""

from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

import structlog

from millrace.core.clock import Clock
from millrace.core.control.autoscaler import decide_scale, memory
from millrace.core.control.fleet import Latencies
from millrace.core.control.scaling import Observation, ScalePolicy, Step
from millrace.core.errors import RequestError, TransientError
from millrace.core.records import TopicPartition
from millrace.kafka.admin import Admin
from millrace.kafka.control import ControlView
from millrace.kafka.control_writer import DEPLOYMENTS_TOPIC, MODELS_TOPIC, Change, ControlWriter, Put, Tables
from millrace.process.deployment import Deployment, Start
from millrace.process.settings import KafkaSettings
from millrace.serving.catalogue import curves, resolve
from millrace_launcher.adapters.view import FleetView
from millrace_launcher.logic.observing import Counts, capacity_of, counts_of, latency_between, observe
from millrace_launcher.logic.scaling import AUTOSCALER, SCALED, rescaled

log = structlog.get_logger()

_LATENCY_MS: Final = 3_000
"""Latencies of so long are one observation's: shorter, and single records decide; longer, and it comes late."""

_FRESH: Final = timedelta(seconds=5)
"""A decision that took longer is about something else: the broker did not answer, or this process was paused."""

_MS: Final = timedelta(milliseconds=1)

Result: TypeAlias = Mapping[str, Any] | None


@dataclass(slots=True)
class _Watch:
    """What was seen of one deployment.

    Attributes:
        policy: By which it is scaled; another one begins anew.
        topic: Of which topic.
        history: Observations, oldest first.
        counts: Latencies as they were counted lately, oldest first.
        due: When to look next, by the monotonic clock.
        said: What was logged last.
    """

    policy: ScalePolicy
    topic: str
    history: list[Observation] = field(default_factory=list)
    counts: deque[tuple[int, Counts]] = field(default_factory=deque)
    due: float = 0.0
    said: str = ""

    def latency(self, counts: Counts, at_ms: int) -> timedelta | None:
        """The quantile over the last seconds; None where nothing became readable in them, or it is the first look."""
        while len(self.counts) > 1 and self.counts[1][0] <= at_ms - _LATENCY_MS:
            self.counts.popleft()
        before = self.counts[0][1] if self.counts else counts
        self.counts.append((at_ms, counts))
        return latency_between(before, counts, self.policy.quantile)

    def note(self, observation: Observation) -> None:
        """Remember an observation, and forget what counts no more: all of it when the topic got more partitions."""
        since, partitions = observation.at_ms - memory(self.policy) // _MS, len(observation.ends)
        kept = (found for found in self.history if found.at_ms >= since and len(found.ends) == partitions)
        self.history = [*kept, observation]


class Scaler:
    """Scales the deployments that ask for it. Its `turn` is called by one thread; close it, or use it in a `with`.

    It acts as a person does who calls `scale`: by a change of the document, in a transaction with its history. A change
    is void when the document asks for another number by then than the one that was looked at.

    Args:
        kafka: The cluster.
        view: The fleet.
        is_elected: Whether this daemon is the controller.
        clock: The system's.
    """

    def __init__(self, kafka: KafkaSettings, view: FleetView, is_elected: Callable[[], bool], clock: Clock) -> None:
        self._view = view
        self._is_elected = is_elected
        self._clock = clock
        self._admin = Admin(kafka)
        self._watched: dict[str, _Watch] = {}
        with ExitStack() as stack:
            self._writer = stack.enter_context(ControlWriter(kafka, who=AUTOSCALER, topics=(DEPLOYMENTS_TOPIC,)))
            self._models = stack.enter_context(ControlView(kafka, MODELS_TOPIC))
            self._stack = stack.pop_all()

    def turn(self) -> None:
        """Look at the deployments whose turn it is, and change what is to be changed.

        Raises:
            FatalError: The broker refuses this client.
        """
        if not self._is_elected():
            self._watched.clear()  # What is not watched all the time is not known.
            return
        meant = {
            name: (deployment, auto.policy(deployment.slo))
            for name, deployment in self._view.desired().deployments.items()
            if (auto := deployment.scale.auto) is not None and not auto.paused
        }
        self._watched = {name: watch for name, watch in self._watched.items() if name in meant}
        for name, (deployment, policy) in meant.items():
            watch = self._watch(name, deployment, policy)
            if self._clock.monotonic() >= watch.due:
                watch.due = self._clock.monotonic() + policy.polling_interval.total_seconds()
                self._look(deployment, watch)

    def close(self) -> None:
        """Let go of the connections."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _watch(self, name: str, deployment: Deployment, policy: ScalePolicy) -> _Watch:
        known = self._watched.get(name)
        if known is None or (known.policy, known.topic) != (policy, deployment.source.topic):
            self._watched[name] = known = _Watch(policy, deployment.source.topic)
        return known

    def _look(self, deployment: Deployment, watch: _Watch) -> None:
        begun = self._clock.monotonic()
        try:
            watch.note(self._observe(deployment, watch))
            decision = decide_scale(watch.policy, watch.history)
            is_fresh = self._clock.monotonic() - begun <= _FRESH.total_seconds()
            if isinstance(decision, Step) and is_fresh and self._is_elected():
                self._scale(deployment, decision)
        except (TransientError, RequestError) as error:
            if watch.said != error.message:
                log.warning("not scaled", deployment=deployment.deployment, why=error.message)
            watch.said = error.message
        else:
            watch.said = ""

    def _observe(self, deployment: Deployment, watch: _Watch) -> Observation:
        committed, ends = self._offsets(deployment)
        at_ms = self._clock.wall_ms()
        counts = counts_of(self._latencies(), deployment.deployment)
        return observe(
            deployment,
            self._view.fleet(),
            committed=committed,
            ends=ends,
            latency=watch.latency(counts, at_ms),
            capacity=self._capacity(deployment),
            at_ms=at_ms,
        )

    def _offsets(self, deployment: Deployment) -> tuple[list[int], list[int]]:
        """What the group has committed of each partition, and its stable end."""
        topic = deployment.source.topic
        # Committed before ends: the other way round, what is done in between would look like more than there was.
        committed = self._admin.committed(deployment.group_id)
        ends = self._admin.ends([topic])
        partitions = [TopicPartition(topic, number) for number in range(len(ends))]
        begins_late = deployment.source.start is Start.LATEST
        firsts = {found: ends[found].stable if begins_late else ends[found].start for found in partitions}
        return [committed.get(p, firsts[p]) for p in partitions], [ends[p].stable for p in partitions]

    def _latencies(self) -> list[Latencies]:
        return [found for heard in self._view.heartbeats().values() for found in heard.heartbeat.latencies]

    def _capacity(self, deployment: Deployment) -> float | None:
        table = self._models.refresh()
        return capacity_of(deployment, curves(table, resolve(table, deployment.model)))

    def _scale(self, deployment: Deployment, step: Step) -> None:
        name, subject = deployment.deployment, f"deployment {deployment.deployment}"

        def decide(tables: Tables) -> Change[Result]:
            document = tables[DEPLOYMENTS_TOPIC].get(name)
            if document is None or Deployment.parse(document, subject=subject) != deployment:
                return Change((), None)
            wanted = Deployment.parse(rescaled(document, {"scorers": step.replicas}), subject=subject)
            result = {"scale": {"scorers": step.replicas}, "before": deployment.scale.scorers, "why": step.why}
            return Change([Put(DEPLOYMENTS_TOPIC, name, wanted.document())], result)

        applied = self._writer.apply(f"deployment/{name}", SCALED, decide)
        if (reached := applied.next_offsets.get(DEPLOYMENTS_TOPIC)) is not None:
            self._view.wait_for_documents(reached)
            log.info("scaled", deployment=name, scorers=step.replicas, before=deployment.scale.scorers, why=step.why)
