"""The composition root of the materializer: everything is put together here, and nowhere else."""

from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog

from millrace.core.clock import Clock
from millrace.kafka.admin import Admin
from millrace.kafka.member import Member
from millrace.process.lifecycle import ExitCode, Phase, Shutdown
from millrace.process.settings import KafkaSettings, RedisSettings, Settings
from millrace.service import Surroundings, Watched, run_service, watched
from millrace.store.finding import find_redis
from millrace.store.online_table import OnlineTable
from millrace.telemetry import materializer as metrics
from millrace_materializer.adapters.telemetry import Telemetry
from millrace_materializer.logic.loop import Loop

log = structlog.get_logger()

_TURN: Final = timedelta(milliseconds=500)


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be kept in the online store.

    Attributes:
        topic: The topic.
        ttl: How long after its record's timestamp a value is kept; None keeps it until a tombstone.
        is_awaited: Whether to wait for the topic where there is none yet.
    """

    topic: str
    ttl: timedelta | None = None
    is_awaited: bool = False


def main(order: Order, *, forget: bool = False) -> ExitCode:
    """Run one materializer from settings to exit code, or only delete the topic's table."""

    def work(around: Surroundings) -> None:
        redis = find_redis(around.settings, wanted=f"{order.topic} is to be kept in the online store")
        materializer = Materializer(around.settings, around.kafka, redis, order, clock=around.clock)
        if forget:
            materializer.forget()
        else:
            materializer.run(around.shutdown)

    return run_service("materializer", work, topic=order.topic)


@dataclass(frozen=True, slots=True)
class Materializer:
    """One worker that keeps one topic's table, ready to be put together."""

    settings: Settings
    kafka: KafkaSettings
    redis: RedisSettings
    order: Order
    clock: Clock

    def run(self, shutdown: Shutdown) -> None:
        """Keep the table until asked to stop. Nothing needs to be drained: what is not written is read again.

        Raises:
            RequestError: There is no such topic, or its table is another topic's.
            TransientError: The broker is away at the start.
            FatalError: The broker or the store refuses this client.
        """
        topic = self.order.topic
        with ExitStack() as stack:
            told = stack.enter_context(
                watched(
                    "materializer", metrics.MATERIALIZER, self.settings, clock=self.clock, constants={"topic": topic}
                )
            )
            telemetry = Telemetry(told.instruments, told.health)
            log.info("starting", topic=topic, kafka=self.kafka.bootstrap, redis=self.redis.url, health=told.url)
            if self.order.is_awaited and not self._has_come(told, shutdown):
                return
            table = stack.enter_context(closing(self._table()))
            member = stack.enter_context(closing(Member(self.kafka, topic, group=f"materializer-{topic}")))
            loop = Loop(member, table, clock=self.clock, observer=telemetry)
            while shutdown.phase() is Phase.RUNNING:
                told.health.turn()
                telemetry.lag(member.lag())
                loop.turn()
            log.info("stopped")

    def _has_come(self, told: Watched, shutdown: Shutdown) -> bool:
        """Wait for the topic; False where this process was asked to stop first."""
        admin = Admin(self.kafka)
        while shutdown.phase() is Phase.RUNNING:
            if self.order.topic in admin.topic_names():
                return True
            told.health.turn()
            told.health.not_ready(f"topic {self.order.topic} does not exist yet")
            shutdown.wait(_TURN)
        return False

    def forget(self) -> None:
        """Delete the topic's table.

        Raises:
            RequestError: There is no such topic.
            TransientError: The broker or the store is away.
        """
        with closing(self._table()) as table:
            log.info("table deleted", topic=self.order.topic, values=table.forget())

    def _table(self) -> OnlineTable:
        topic_id = Admin(self.kafka).topic_id(self.order.topic)
        return OnlineTable(self.redis, self.order.topic, topic_id=topic_id, ttl=self.order.ttl)
