"""The composition root of the trainer: everything is put together here, and nowhere else."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import structlog

from millrace.core.errors import TransientError
from millrace.kafka.appending import RETRAIN_TOPIC, AppendLog, Entry
from millrace.kafka.connection import Link
from millrace.process.clock import SystemClock
from millrace.process.lifecycle import ExitCode, Phase, Shutdown
from millrace.process.settings import KafkaSettings, Settings
from millrace.service import Surroundings, run_service, watched
from millrace.serving.catalogue import CHAMPION
from millrace.serving.registry import Registry
from millrace.serving.shelf import Shelf
from millrace.serving.streams import StreamCodec
from millrace.telemetry import trainer as metrics
from millrace_trainer.adapters.running import Bounds, Call
from millrace_trainer.adapters.telemetry import Telemetry
from millrace_trainer.adapters.worker import Plan, Worker, read_ledger, utc_now
from millrace_trainer.logic.ledger import Ledger, next_action
from millrace_trainer.settings import Training

log = structlog.get_logger()

_TURN: Final = timedelta(milliseconds=200)


class _StoppedError(Exception):
    """This process was asked to stop while a training was at work; the log says where to go on."""


def main(*, file: Path) -> ExitCode:
    """Run one trainer from settings to exit code."""

    def work(around: Surroundings) -> None:
        Trainer(around.settings, around.kafka, Training.load(file), clock=around.clock).run(around.shutdown)

    return run_service("trainer", work)


@dataclass(frozen=True, slots=True)
class Trainer:
    """The trainer of one model, ready to be put together."""

    settings: Settings
    kafka: KafkaSettings
    training: Training
    clock: SystemClock

    def run(self, shutdown: Shutdown) -> None:
        """LoopAnswer requests until asked to stop.

        Raises:
            RequestError: The training cannot work as written: no such topic, a schema file that cannot be read.
            TransientError: The broker or a store went away while a request was worked on; a restart goes on with it.
            FatalError: Another trainer of the model has taken over, or the broker refuses this client.
        """
        training, model = self.training, self.training.model
        with ExitStack() as stack:
            told = stack.enter_context(
                watched("trainer", metrics.TRAINER, self.settings, clock=self.clock, constants={"model": model})
            )
            telemetry = Telemetry(told.instruments, told.health, seconds=self.clock.monotonic)
            log.info("starting", model=model, kafka=self.kafka.bootstrap, health=told.url)

            def keep_alive() -> None:
                told.health.turn()
                if shutdown.phase() is not Phase.RUNNING:
                    raise _StoppedError

            registry = stack.enter_context(Registry(self.kafka, Shelf.of(self.settings), who=f"trainer/{model}"))
            codec = stack.enter_context(StreamCodec(training.deployment(), self.clock))
            requests = stack.enter_context(
                AppendLog(self.kafka, RETRAIN_TOPIC, key=model, appender=f"millrace-trainer-{model}")
            )
            worker = Worker(
                kafka=self.kafka,
                log=requests,
                registry=registry,
                codec=codec,
                plan=plan_of(training),
                folder=self.settings.home / "training",
                now=utc_now,
                keep_alive=keep_alive,
                telemetry=telemetry,
            )
            try:
                self._answer(requests, worker, registry, telemetry, keep_alive=keep_alive)
            except _StoppedError:
                log.info("stopped", phase=shutdown.phase().value)

    def _answer(
        self,
        requests: AppendLog,
        worker: Worker,
        registry: Registry,
        telemetry: Telemetry,
        *,
        keep_alive: Callable[[], None],
    ) -> None:
        policy, model = self.training.intake_policy, self.training.model
        ledger = read_ledger(requests.read_all(), Ledger(), telemetry.unreadable)
        while True:
            keep_alive()
            ledger = read_ledger(self._read(requests, telemetry), ledger, telemetry.unreadable)
            if not ledger.is_settled:
                champion = registry.aliases(model).get(CHAMPION)
                action = next_action(ledger, policy, champion=champion)
                ledger = ledger.after(worker.carry_out(action)) if action else ledger

    def _read(self, requests: AppendLog, telemetry: Telemetry) -> list[Entry]:
        try:
            entries = requests.read(_TURN)
        except TransientError as error:
            telemetry.unreachable(error.message)
            return []
        if requests.link is Link.AWAY:
            telemetry.unreachable("the broker went away")
        else:
            telemetry.reading()
        return entries


def plan_of(training: Training) -> Plan:
    """How a training document wants its model trained."""
    function = training.function
    bounds = Bounds(
        memory_bytes=function.memory_bytes,
        cpu=timedelta(seconds=function.cpu_secs),
        wall=timedelta(seconds=function.wall_secs),
        file_bytes=function.file_bytes,
    )
    return Plan(
        features=training.source.topic,
        labels=training.labels,
        enrich=training.enrich,
        predictions=training.predictions,
        call=Call(function.name, function.folders, function.environment, function.threads, bounds),
        seed=function.seed,
        window=training.window_policy,
        label_events=training.data.label_events,
        promotion=training.promotion_policy,
        rollout_limit=timedelta(seconds=training.promotion.rollout_secs),
    )
