"""The composition root of the gateway: everything is put together here, and nowhere else."""

import asyncio
import gc
import secrets
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

import grpc
import structlog
import uvloop
from starlette.types import ASGIApp

from millrace.core.errors import RequestError
from millrace.kafka.admin import Admin
from millrace.kafka.connection import Link
from millrace.kafka.finding import read_deployment
from millrace.kafka.keys import KeyView
from millrace.process.admission import Doorkeeper
from millrace.process.clock import SystemClock
from millrace.process.deployment import Deployment, LogMode
from millrace.process.lifecycle import ExitCode, Phase, Shutdown
from millrace.process.oidc.opening import open_tokens
from millrace.process.settings import KafkaSettings, Settings
from millrace.process.tls import ServerTls
from millrace.service import Surroundings, Watched, run_service, watched
from millrace.service.tracing import open_tracing
from millrace.serving.registry import Registry
from millrace.serving.shelf import Shelf
from millrace.serving.streams import StreamCodec
from millrace.store.finding import SoughtOnlineStore
from millrace.telemetry import gateway as metrics
from millrace.telemetry.inference import ANSWERED, DoorName
from millrace_gateway.adapters.answering import Answering, event_id_source
from millrace_gateway.adapters.balancing import behind_haproxy
from millrace_gateway.adapters.compiling import Compiler
from millrace_gateway.adapters.depositing import Depositor
from millrace_gateway.adapters.entrance import Entrance
from millrace_gateway.adapters.grpc.doors import Calls
from millrace_gateway.adapters.grpc.inference import inference_service
from millrace_gateway.adapters.grpc.predictions import predictions_service
from millrace_gateway.adapters.grpc.server import GrpcServer
from millrace_gateway.adapters.haproxy import HaproxyPlace, configuration
from millrace_gateway.adapters.journal import Journal
from millrace_gateway.adapters.models import Repository
from millrace_gateway.adapters.patience import Patience
from millrace_gateway.adapters.prediction_streams import PredictionStreams
from millrace_gateway.adapters.rates import RateLimiter
from millrace_gateway.adapters.readiness import Readiness
from millrace_gateway.adapters.rest.bodies import BodyLimits
from millrace_gateway.adapters.rest.direct import DirectInference
from millrace_gateway.adapters.rest.doors import RestDoor, application
from millrace_gateway.adapters.rest.entities import Entities, entities_door
from millrace_gateway.adapters.rest.guard import Guard
from millrace_gateway.adapters.rest.health import health_door
from millrace_gateway.adapters.rest.inference import inference_door
from millrace_gateway.adapters.rest.predictions import predictions_door
from millrace_gateway.adapters.rest.repository import repository_door
from millrace_gateway.adapters.rest.server import RestServer
from millrace_gateway.adapters.rest.streams import StreamIntake, Topics, streams_door
from millrace_gateway.adapters.rest.tensors import TensorLimits
from millrace_gateway.adapters.rest.uploads import uploads_door
from millrace_gateway.adapters.subscriptions import Hub
from millrace_gateway.adapters.telemetry import JournalTelemetry, note_answered
from millrace_gateway.adapters.topics import ensure_online_topics
from millrace_gateway.adapters.uploads import Uploads
from millrace_gateway.settings import GatewaySettings, Grpc, KeyRule, Rest

log = structlog.get_logger()

_TURN: Final = timedelta(milliseconds=50)
_PROMPT: Final = timedelta(milliseconds=1)
_PATIENT: Final = timedelta(milliseconds=20)
"""How long records of requests wait for others: where an answer waits for them, and where none does."""

_ANSWERS_SHARE: Final = 0.75
"""Share of the time to stop that answers may take; what was answered is written in the rest."""

_COLLECT_AFTER: Final = 20_000
"""Objects that may be made before the youngest are looked through; Python's own number is 700."""


def main(*, files: Sequence[Path], names: Sequence[str], slot: int) -> ExitCode:
    """Run one gateway from settings to exit code. Serves the deployments of all files and names."""

    def work(around: Surroundings) -> None:
        named = (read_deployment(around.kafka, name) for name in names)
        deployments = (*map(Deployment.load, files), *named)
        options = GatewaySettings.load()
        _spare_the_collector()
        Gateway(around.settings, options, around.kafka, deployments, slot=slot, clock=around.clock).run(around.shutdown)

    return run_service("gateway", work, slot=slot)


def _spare_the_collector() -> None:
    """Let garbage be looked for rarely, and not among what lives as long as the process.

    A request leaves no cycles behind. Looking through all modules takes as long as a hundred requests, and each of
    them would wait.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)


def print_haproxy_configuration() -> ExitCode:
    """Write the configuration that the environment asks for to standard output."""
    try:
        sys.stdout.write(configuration(GatewaySettings.load()))
    except RequestError as error:
        sys.stderr.write(f"{error}\n")
        return ExitCode.REFUSED
    return ExitCode.DONE


@dataclass(frozen=True, slots=True)
class Gateway:
    """One gateway, ready to be put together."""

    settings: Settings
    options: GatewaySettings
    kafka: KafkaSettings
    deployments: tuple[Deployment, ...]
    slot: int
    clock: SystemClock

    def uploads(self) -> Uploads:
        """Where pieces of blobs are kept: on this machine, for all gateways of one home."""
        bounds, store = self.options.uploads, Shelf.of(self.settings).blobs
        folder = self.settings.home / "uploads"
        return Uploads(folder, store, max_bytes=bounds.max_bytes, max_uploads=bounds.max_uploads)

    def run(self, shutdown: Shutdown) -> None:
        """Answer until asked to stop, and then what has been asked before.

        Raises:
            RequestError: It cannot work as written: no such model, an address in use.
            TransientError: The broker or a store is away at the start.
            FatalError: Something broke that only a restart can mend.
        """
        with (
            watched("gateway", metrics.GATEWAY, self.settings, clock=self.clock, constants={}) as told,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            log.info("starting", kafka=self.kafka.bootstrap, health=told.url)
            runner.run(self._serve(told, shutdown))

    async def _serve(self, told: Watched, shutdown: Shutdown) -> None:
        async with AsyncExitStack() as stack:
            parts = await self._open(told, stack, shutdown)
            options = self.options
            app, interceptors = self._traced(
                Guard(application(parts.rest_doors()), parts.entrance, parts.observe(DoorName.REST)),
                stack.enter_context(ExitStack()),
            )
            rest_at, grpc_at, tls, place = self._addresses()
            patience = Patience(shutdown, self.clock, most=_ANSWERS_SHARE * shutdown.drain)
            rest = await stack.enter_async_context(
                RestServer(app, parts.direct_inference(), rest_at, options.limits, patience=patience, tls=tls)
            )
            rpc = await stack.enter_async_context(
                GrpcServer(
                    parts.grpc_doors(),
                    grpc_at,
                    options.limits,
                    patience=patience,
                    tls=tls,
                    interceptors=interceptors,
                )
            )
            readiness = Readiness(told, rpc)
            end_streams = parts.streams.hub.close
            async with behind_haproxy(
                place, rest_port=rest.port, grpc_port=rpc.port, patience=patience, end_streams=end_streams
            ):
                log.info("serving", rest=rest.url, grpc=rpc.target, haproxy=place is not None)
                while shutdown.phase() is Phase.RUNNING:
                    told.health.turn()
                    await readiness.say(parts.obstacle())
                    await asyncio.sleep(_TURN.total_seconds())
                await readiness.say("stopping")
            await end_streams()  # they never end by themselves, and the servers would wait
        log.info("stopped", phase=shutdown.phase().value)

    def _traced(self, app: ASGIApp, stack: ExitStack) -> tuple[ASGIApp, Sequence[grpc.aio.ServerInterceptor]]:
        """The application, and what stands before calls: with spans of recorded traces, where traces are asked for."""
        tracing = open_tracing("gateway", self.settings.traces, stack)
        if tracing is None:
            return app, ()
        from millrace_gateway.adapters.grpc.tracing import TracedCalls  # noqa: PLC0415 -- both need OpenTelemetry
        from millrace_gateway.adapters.rest.tracing import Traced  # noqa: PLC0415

        return Traced(app, tracing), (TracedCalls(tracing),)

    def _addresses(self) -> tuple[Rest, Grpc, ServerTls | None, HaproxyPlace | None]:
        """Where to listen, with what certificate, and where HAProxy is told of it.

        Its own addresses and its certificate are those of the settings; behind it, on the loopback, TLS is over.
        """
        options = self.options
        if options.haproxy.socket is None:
            return options.rest, options.grpc, options.tls, None
        return Rest(port=0), Grpc(port=0), None, HaproxyPlace(options.haproxy.socket, self.slot)

    async def _open(self, told: Watched, stack: AsyncExitStack, shutdown: Shutdown) -> "_Parts":
        """Open what the doors stand on, in the order of need; `stack` closes it in reverse."""
        hub = await stack.enter_async_context(Hub(self.kafka, self.options.subscriptions, told.instruments))
        topics = {each.deployment: each.predictions_topic for each in self.deployments}
        streams = PredictionStreams(hub, topics, told.instruments, self.clock)
        depositor = Depositor(self.kafka, self.clock.wall_ms, self.options.limits.intake_bytes)
        depositor.start()
        stack.push_async_callback(asyncio.to_thread, depositor.close, self._log_patience(shutdown).is_over)
        intake = StreamIntake(Topics(Admin(self.kafka), self.clock), depositor, self.options.limits, told.instruments)
        entrance = Entrance(RateLimiter(self.options.limits.requests_per_sec), self._doorkeeper(told, stack))
        online = SoughtOnlineStore(self.settings, wanted="online features and newest predictions lie in a store")
        stack.callback(online.close)
        repository, answering = await self._open_inference(told, online, stack, shutdown)
        return _Parts(self, told, streams, intake, repository, answering, entrance, online)

    def _log_patience(self, shutdown: Shutdown) -> Patience:
        return Patience(shutdown, self.clock, most=shutdown.drain)

    def _doorkeeper(self, told: Watched, stack: AsyncExitStack) -> Doorkeeper | None:
        if self.options.keys is KeyRule.NONE:
            return None
        follow_age = partial(told.instruments.follow, metrics.PROVIDER_KEYS_AGE)
        tokens = stack.enter_context(open_tokens(self.options.oidc, self.clock, follow_age))
        return Doorkeeper(stack.enter_context(KeyView(self.kafka)), clock=self.clock, tokens=tokens)

    async def _open_inference(
        self, told: Watched, online: SoughtOnlineStore, stack: AsyncExitStack, shutdown: Shutdown
    ) -> tuple[Repository, Answering]:
        limits, loop = self.options.limits, asyncio.get_running_loop()
        threads = stack.enter_context(ThreadPoolExecutor(self.options.threads, thread_name_prefix="score"))
        loading = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="load"))
        admin = Admin(self.kafka)
        for deployment in self.deployments:
            await loop.run_in_executor(loading, ensure_online_topics, admin, deployment)
        is_waited_for = any(each.online.log is LogMode.REQUIRED for each in self.deployments)
        journal = Journal(
            self.kafka,
            bound_rows=limits.log_rows,
            observer=JournalTelemetry(told.instruments),
            linger=_PROMPT if is_waited_for else _PATIENT,
        )
        is_over = self._log_patience(shutdown).is_over
        stack.push_async_callback(loop.run_in_executor, loading, journal.close, is_over)
        registry = Registry(self.kafka, Shelf.of(self.settings), who=f"gateway/{self.slot}")
        stack.push_async_callback(loop.run_in_executor, loading, registry.close)
        codecs = {
            each.deployment: stack.enter_context(StreamCodec(each, self.clock, settings=self.settings, online=online))
            for each in self.deployments
        }
        compiler = Compiler(registry.shelf, codecs, journal, threads, limits.pending_rows, told.instruments, self.clock)
        repository = Repository(
            registry, self.deployments, compiler=compiler, threads=loading, bound=limits.extra_models
        )
        stack.push_async_callback(repository.close)
        await repository.start()
        longest = timedelta(seconds=limits.request_secs)
        answering = Answering(
            repository,
            journal,
            longest,
            self.clock,
            event_id_source(secrets.token_hex(8)),
            partial(note_answered, told.instruments),
        )
        return repository, answering


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the doors stand on. A new door is one line in one of the lists below."""

    gateway: Gateway
    told: Watched
    streams: PredictionStreams
    intake: StreamIntake
    repository: Repository
    answering: Answering
    entrance: Entrance
    online: SoughtOnlineStore

    def obstacle(self) -> str | None:
        """Why requests would not be answered as promised now; None where they would."""
        return "the broker is away" if self.answering.journal.link is Link.AWAY else None

    def rest_doors(self) -> Sequence[RestDoor]:
        """Every door over HTTP; the first route that fits a path answers."""
        limits = self.gateway.options.limits
        bodies = BodyLimits(limits.body_bytes, timedelta(seconds=limits.body_secs))
        return (
            health_door(self.told.health, self.told.instruments.exposition),
            inference_door(self.answering, self.repository, bodies, self._tensors),
            repository_door(self.repository, bodies),
            predictions_door(self.streams),
            entities_door(Entities(self.online, self.streams.topics)),
            streams_door(self.intake),
            uploads_door(self.gateway.uploads(), stall_secs=self.gateway.options.limits.body_secs),
        )

    def direct_inference(self) -> DirectInference:
        """The short way to inference over HTTP."""
        return DirectInference(
            self.answering,
            self._tensors,
            self.entrance,
            self.observe(DoorName.REST),
            unusual=frozenset({b"traceparent"}) if self.gateway.settings.traces.endpoint else frozenset(),
        )

    def grpc_doors(self) -> Sequence[grpc.GenericRpcHandler]:
        """Every door over gRPC."""
        calls = Calls(self.entrance, self.observe(DoorName.GRPC))
        elements = self.gateway.options.limits.elements
        return (
            inference_service(self.answering, self.repository, self.told.health, calls, elements=elements),
            predictions_service(self.streams, calls),
        )

    def observe(self, door: DoorName) -> Callable[[str], None]:
        """Counts the answers of a door by their status."""

        def count(status: str) -> None:
            self.told.instruments.add(ANSWERED, door=door, status=status)

        return count

    @property
    def _tensors(self) -> TensorLimits:
        limits = self.gateway.options.limits
        return TensorLimits(limits.elements, limits.depth)
