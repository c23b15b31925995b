"""The composition root of the scorer: everything is put together here, and nowhere else."""

from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import structlog

from millrace.core.batching import BatchPolicy
from millrace.kafka.admin import Admin
from millrace.kafka.finding import read_deployment
from millrace.kafka.lane import LaneSpec, open_lane
from millrace.kafka.outputs import ensure_output_topics
from millrace.process.clock import SystemClock
from millrace.process.deployment import Deployment
from millrace.process.lifecycle import ExitCode, Phase, Shutdown
from millrace.process.settings import KafkaSettings, LaneBody, Settings
from millrace.service import Surroundings, run_service, watched
from millrace.service.tracing import open_tracing
from millrace.serving.registry import Registry
from millrace.serving.shelf import Shelf
from millrace.serving.streams import StreamCodec
from millrace.telemetry import scorer as metrics
from millrace_scorer.adapters.compiling import Compiler
from millrace_scorer.adapters.handovers import HandoverTopic
from millrace_scorer.adapters.models import ServedModels
from millrace_scorer.adapters.telemetry import Telemetry
from millrace_scorer.logic.handovers import Handovers
from millrace_scorer.logic.lineup import Worker
from millrace_scorer.logic.loop import LoopSettings, ScoringLoop
from millrace_scorer.logic.ports import Models

log = structlog.get_logger()


def main(*, file: Path | None, name: str | None, slot: int) -> ExitCode:
    """Run one scorer from settings to exit code. Exactly one of `file` and `name` is given."""

    def work(around: Surroundings) -> None:
        deployment = Deployment.load(file) if file else read_deployment(around.kafka, name or "")
        Scorer(around.settings, around.kafka, deployment, slot=slot, clock=around.clock).run(around.shutdown)

    return run_service("scorer", work, slot=slot)


@dataclass(frozen=True, slots=True)
class Scorer:
    """One worker of one deployment, ready to be put together."""

    settings: Settings
    kafka: KafkaSettings
    deployment: Deployment
    slot: int
    clock: SystemClock

    def run(self, shutdown: Shutdown) -> None:
        """Score until asked to stop.

        Raises:
            RequestError: The deployment cannot work as written: no such topic, model, provider.
            TransientError: The broker or a store is away at the start.
            FatalError: Something broke that only a restart can mend.
        """
        deployment, clock = self.deployment, self.clock
        constants = {"deployment": deployment.deployment}
        with ExitStack() as stack:
            told = stack.enter_context(
                watched("scorer", metrics.SCORER, self.settings, clock=clock, constants=constants)
            )
            told.instruments.set(metrics.BACKLOG_LIMIT, deployment.batch.transaction_records)
            telemetry = Telemetry(told.instruments, told.health)
            log.info("starting", deployment=deployment.deployment, kafka=self.kafka.bootstrap, health=told.url)
            ensure_output_topics(Admin(self.kafka), deployment)
            who = f"scorer/{deployment.deployment}/{self.slot}"
            registry = Registry(self.kafka, Shelf.of(self.settings), who=who)
            stack.enter_context(registry)
            codec = stack.enter_context(
                StreamCodec(deployment, clock, settings=self.settings, on_fetch=telemetry.fetched)
            )
            models = ServedModels(registry, deployment, Compiler(deployment, codec, clock), telemetry.models)
            stack.enter_context(closing(models))
            lane = open_lane(self.kafka, lane_spec(deployment, self.slot, self.settings.lane))
            stack.enter_context(closing(lane))
            topic = deployment.handovers_topic
            loop = ScoringLoop(
                lane,
                self._traced(models, stack),
                Handovers(
                    HandoverTopic(self.kafka, topic),
                    topic=topic,
                    deployment=deployment.deployment,
                    by=worker(self.settings),
                ),
                policy=batch_policy(deployment),
                settings=LoopSettings(late_topic=deployment.late_topic),
                clock=clock,
                observer=telemetry,
            )
            log.info("scoring", source=deployment.source.topic, predictions=deployment.predictions_topic)

            while shutdown.phase() is Phase.RUNNING:
                told.health.turn()
                telemetry.lane(lane.stats())
                loop.turn()
            if shutdown.phase() is Phase.DRAINING:
                loop.finish()
            log.info("stopped", phase=shutdown.phase().value)

    def _traced(self, models: Models, stack: ExitStack) -> Models:
        """The models, with a span for each micro-batch where traces are asked for."""
        tracing = open_tracing("scorer", self.settings.traces, stack)
        if tracing is None:
            return models
        from millrace_scorer.adapters.tracing import TracedModels  # noqa: PLC0415 -- it needs OpenTelemetry

        return TracedModels(models, tracing, self.deployment.deployment)


def worker(settings: Settings) -> Worker | None:
    """Who this process is to its launcher; None where none started it."""
    launch = settings.launch
    return None if launch is None else Worker(launch.node, launch.slot, launch.number, launch.environment)


def batch_policy(deployment: Deployment) -> BatchPolicy:
    """The batch policy that a deployment declares."""
    return BatchPolicy(
        slo=deployment.slo.latency,
        max_records=deployment.batch.max_records,
        max_wait=deployment.batch.max_wait,
        transaction_records=deployment.batch.transaction_records,
        transaction_age=deployment.batch.transaction_age,
        variant_after=deployment.overload.variant_after,
        shed_after=deployment.overload.shed_after,
    )


def lane_spec(deployment: Deployment, slot: int, body: LaneBody) -> LaneSpec:
    """The lane that a deployment declares, for one of its workers."""
    return LaneSpec(
        deployment=deployment.deployment,
        slot=slot,
        topic=deployment.source.topic,
        delivery=deployment.delivery,
        group=deployment.group_id,
        group_protocol=deployment.group.protocol,
        start_at=deployment.source.start,
        session_timeout=deployment.group.session_timeout,
        body=body,
    )
