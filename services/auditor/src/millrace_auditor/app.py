"""The composition root of the auditor: everything is put together here, and nowhere else."""

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import structlog

from millrace.codec.audit_records import RecordColumns
from millrace.core.clock import Clock
from millrace.core.errors import RequestError
from millrace.core.rollout import RolloutMode
from millrace.kafka.admin import Admin
from millrace.kafka.finding import read_deployment
from millrace.kafka.lane import GroupLane, LaneSpec, open_exactly_once
from millrace.process.deployment import Deployment
from millrace.process.lifecycle import ExitCode, Phase, Shutdown
from millrace.process.settings import KafkaSettings, Settings
from millrace.service import Surroundings, run_service, watched
from millrace.serving.audited import Versions, window_spec
from millrace.serving.registry import Registry
from millrace.serving.shelf import Shelf
from millrace.telemetry import auditor as metrics
from millrace_auditor.adapters.logs import AnswerTopic, EvidenceTopic, LabelTopic, StateTopic
from millrace_auditor.adapters.rollouts import RegistryAliases, RolloutTopic
from millrace_auditor.adapters.shadows import PairColumns
from millrace_auditor.adapters.telemetry import RolloutTelemetry, Telemetry
from millrace_auditor.adapters.topics import (
    ALERTS,
    REQUESTS,
    AuditTopics,
    RolloutTopics,
    ensure_rollout_topics,
    ensure_topics,
)
from millrace_auditor.logic.join import JoinLoop, JoinSettings, JoinTopics
from millrace_auditor.logic.judge import Judge
from millrace_auditor.logic.judging import JudgeLoop, JudgeTopics
from millrace_auditor.logic.pairs import ANSWERS, counting_pairs
from millrace_auditor.logic.rollout import RolloutLoop
from millrace_auditor.logic.rollout_judge import RolloutJudge

log = structlog.get_logger()

_Step: TypeAlias = Callable[[], None]

ALL: Final = (metrics.Role.JOIN, metrics.Role.JUDGE, metrics.Role.ROLLOUT)


def main(*, file: Path | None, name: str | None, slot: int, roles: tuple[metrics.Role, ...] = ALL) -> ExitCode:
    """Run one auditor from settings to exit code. Exactly one of `file` and `name` is given."""

    def work(around: Surroundings) -> None:
        deployment = Deployment.load(file) if file else read_deployment(around.kafka, name or "")
        auditor = Auditor(around.settings, around.kafka, deployment, slot=slot, clock=around.clock, roles=roles)
        auditor.run(around.shutdown)

    return run_service("auditor", work, slot=slot)


@dataclass(frozen=True, slots=True)
class Auditor:
    """One worker of one deployment's audit, ready to be put together."""

    settings: Settings
    kafka: KafkaSettings
    deployment: Deployment
    slot: int
    clock: Clock
    roles: tuple[metrics.Role, ...] = ALL

    def run(self, shutdown: Shutdown) -> None:
        """Audit until asked to stop.

        Raises:
            RequestError: The deployment cannot be audited as written: no predictions topic, no such model, windows that
                panes do not divide.
            TransientError: The broker or a store is away at the start.
            FatalError: Something broke that only a restart can mend.
        """
        name = self.deployment.deployment
        with ExitStack() as stack:
            told = stack.enter_context(
                watched("auditor", metrics.AUDITOR, self.settings, clock=self.clock, constants={"deployment": name})
            )
            told.instruments.set(metrics.EVENTS_HELD_LIMIT, self.deployment.audit.max_events)
            telemetry = Telemetry(told.instruments, told.health)
            log.info("starting", deployment=name, kafka=self.kafka.bootstrap, health=told.url)
            rollout = RolloutTelemetry(telemetry, told.instruments)
            turns, finishes = self._assemble(stack, telemetry, rollout)
            while shutdown.phase() is Phase.RUNNING:
                told.health.turn()
                for turn in turns:
                    turn()
            if shutdown.phase() is Phase.DRAINING:
                for finish in finishes:
                    finish()
            log.info("stopped", phase=shutdown.phase().value)

    def _assemble(
        self, stack: ExitStack, telemetry: Telemetry, rollout: RolloutTelemetry
    ) -> tuple[list[_Step], list[_Step]]:
        """What each role does in turn, and what it does at the end."""
        partitions = ensure_topics(Admin(self.kafka), self.deployment)
        who = f"auditor/{self.deployment.deployment}/{self.slot}"
        registry = stack.enter_context(Registry(self.kafka, Shelf.of(self.settings), who=who))
        versions = Versions(registry, self.deployment)
        turns: list[_Step] = []
        finishes: list[_Step] = []
        topics = AuditTopics.of(self.deployment)
        for role in self.roles:
            if role is metrics.Role.JOIN:
                lane = self._lane(stack, "join", topics.predictions)
                join = self._join(lane, stack, versions, telemetry)
                turns.append(join.turn)
                finishes.append(join.finish)
            elif role is metrics.Role.JUDGE:
                lane = self._lane(stack, "judge", topics.evidence)
                turns.append(self._judge(lane, stack, versions, partitions, telemetry).turn)
            elif self.deployment.rollout.mode is RolloutMode.NONE:
                continue
            else:
                ensure_rollout_topics(Admin(self.kafka), self.deployment, partitions)
                lane = self._lane(stack, "pairs", RolloutTopics.of(self.deployment).shadows)
                pairs = self._pairs(lane, stack, versions, rollout)
                turns += [pairs.turn, self._rollout(stack, registry, versions, partitions, rollout).turn]
                finishes.append(pairs.finish)
            turns.append(partial(_tell, telemetry, role, lane))
        if not turns:
            raise RequestError(
                f"the deployment {self.deployment.deployment!r} tries no challenger",
                remedy="set rollout.mode to shadow or canary, or run the other roles",
            )
        return turns, finishes

    def _lane(self, stack: ExitStack, part: str, topic: str) -> GroupLane:
        name = f"auditor-{part}-{self.deployment.deployment}"
        spec = LaneSpec(
            deployment=name,
            slot=self.slot,
            topic=topic,
            group=name,
            group_protocol=self.deployment.group.protocol,
            session_timeout=self.deployment.group.session_timeout,
            alternate=False,  # transactions are seconds apart
        )
        return stack.enter_context(closing(open_exactly_once(self.kafka, spec)))

    def _join(self, lane: GroupLane, stack: ExitStack, versions: Versions, telemetry: Telemetry) -> JoinLoop:
        topics, audit = AuditTopics.of(self.deployment), self.deployment.audit
        labels = stack.enter_context(closing(LabelTopic(self.kafka, topics.labels)))
        log.info("joining", predictions=topics.predictions, labels=topics.labels, evidence=topics.evidence)
        return JoinLoop(
            lane,
            labels,
            StateTopic(self.kafka, topics.state),
            columns=RecordColumns(versions),
            layout_of=versions.layout,
            spec=window_spec(audit),
            topics=JoinTopics(versions.model, topics.predictions, topics.evidence, topics.unjoined, topics.state),
            settings=JoinSettings(max_events=audit.max_events, score_columns=versions.score_columns),
            clock=self.clock,
            observer=telemetry,
        )

    def _judge(
        self, lane: GroupLane, stack: ExitStack, versions: Versions, partitions: int, telemetry: Telemetry
    ) -> JudgeLoop:
        topics, spec = AuditTopics.of(self.deployment), window_spec(self.deployment.audit)

        def make_judge() -> Judge:
            return Judge(spec, topics.predictions, partitions, versions.watch, self.clock.wall_ms())

        log.info("judging", evidence=topics.evidence, audits=topics.audits)
        return JudgeLoop(
            lane,
            EvidenceTopic(self.kafka, topics.evidence),
            stack.enter_context(closing(AnswerTopic(self.kafka, REQUESTS, versions.model))),
            StateTopic(self.kafka, topics.state),
            make_judge=make_judge,
            topics=JudgeTopics(
                deployment=self.deployment.deployment,
                model=versions.model,
                labels=topics.labels,
                evidence=topics.evidence,
                audits=topics.audits,
                state=topics.state,
                alerts=ALERTS,
                requests=REQUESTS,
            ),
            clock=self.clock,
            observer=telemetry,
        )

    def _pairs(self, lane: GroupLane, stack: ExitStack, versions: Versions, telemetry: RolloutTelemetry) -> JoinLoop:
        topics, audit = RolloutTopics.of(self.deployment), self.deployment.audit
        labels = stack.enter_context(closing(LabelTopic(self.kafka, self.deployment.labels_topic)))
        log.info("comparing", shadows=topics.shadows, rollouts=topics.rollouts)
        return JoinLoop(
            lane,
            labels,
            StateTopic(self.kafka, topics.state),
            columns=PairColumns(versions),
            layout_of=versions.layout,
            spec=window_spec(audit),
            topics=JoinTopics(versions.model, topics.shadows, topics.rollouts, topics.unjoined, topics.state),
            settings=JoinSettings(max_events=audit.max_events, score_columns=ANSWERS),
            clock=self.clock,
            observer=telemetry,
            counting=counting_pairs(versions.task),
        )

    def _rollout(
        self, stack: ExitStack, registry: Registry, versions: Versions, partitions: int, telemetry: RolloutTelemetry
    ) -> RolloutLoop:
        topic, spec = RolloutTopics.of(self.deployment).rollouts, window_spec(self.deployment.audit)
        test = self.deployment.rollout.test

        def make_judge(now_ms: int) -> RolloutJudge:
            return RolloutJudge(versions.model, spec, test, partitions=partitions, now_ms=now_ms)

        return RolloutLoop(
            self._lane(stack, "rollout", topic),
            RolloutTopic(self.kafka, topic),
            RegistryAliases(registry, self.deployment),
            make_judge=make_judge,
            topic=topic,
            clock=self.clock,
            observer=telemetry,
        )


def _tell(telemetry: Telemetry, role: metrics.Role, lane: GroupLane) -> None:
    telemetry.lane(role, lane.stats())
