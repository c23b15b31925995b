"""The composition root of the daemon: everything is put together here, and nowhere else."""

import ssl
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from socket import socket
from threading import Event
from typing import Final

import structlog

from millrace.core.control.fleet import Inventory, NodeState
from millrace.core.control.keys import KeyState
from millrace.core.errors import RequestError
from millrace.kafka.election import Election
from millrace.kafka.fleet import ASSIGNMENTS_TOPIC
from millrace.kafka.keys import KeyView
from millrace.process.admission import Doorkeeper
from millrace.process.clock import SystemClock
from millrace.process.health import Health
from millrace.process.lifecycle import ExitCode, Phase, Shutdown
from millrace.process.oidc.opening import open_tokens
from millrace.process.settings import KafkaSettings, Settings
from millrace.service import Surroundings, Watched, run_service, watched
from millrace.telemetry import launcher as metrics
from millrace.telemetry.metrics import Instruments
from millrace_launcher.adapters.agent import Agent
from millrace_launcher.adapters.controller import OFFICE, Controller
from millrace_launcher.adapters.examining import Examiner
from millrace_launcher.adapters.expositions import Expositions
from millrace_launcher.adapters.heart import Heart
from millrace_launcher.adapters.inventory import take_inventory
from millrace_launcher.adapters.local_store import LocalStore
from millrace_launcher.adapters.measuring import Meter
from millrace_launcher.adapters.place import NodeFolder, own_token
from millrace_launcher.adapters.plugins import installed, load_kinds, load_runner
from millrace_launcher.adapters.probing import Prober
from millrace_launcher.adapters.repeating import repeated
from millrace_launcher.adapters.reporting import Reporter
from millrace_launcher.adapters.rest.api import make_api
from millrace_launcher.adapters.rest.desk import Desk
from millrace_launcher.adapters.rest.environments import EnvironmentDesk
from millrace_launcher.adapters.rest.guard import Guard
from millrace_launcher.adapters.rest.insights import Insights
from millrace_launcher.adapters.rest.jobs import JobDesk
from millrace_launcher.adapters.rest.keys import KeyDesk
from millrace_launcher.adapters.rest.scraping import Scraping
from millrace_launcher.adapters.rest.server import RestServer, is_loopback, listen
from millrace_launcher.adapters.sampling import Sampler
from millrace_launcher.adapters.scaling import Scaler
from millrace_launcher.adapters.telemetry import Telemetry
from millrace_launcher.adapters.view import FleetView
from millrace_launcher.logic.kinds import Kind
from millrace_launcher.logic.liveness import Vigil
from millrace_launcher.logic.ports import Runner
from millrace_launcher.logic.series import EVERY
from millrace_launcher.logic.standing import BEAT
from millrace_launcher.settings import LauncherSettings
from millrace_launcher.ui.site import Site

log = structlog.get_logger()

_TURN: Final = timedelta(milliseconds=200)


def main(*, node: str | None, port: int | None) -> ExitCode:
    """Run one daemon from settings to exit code."""

    def work(around: Surroundings) -> None:
        own = LauncherSettings.load(node=node, port=port)
        Daemon(around.settings, own, around.kafka, clock=around.clock).run(around.shutdown)

    return run_service("launcher", work)


@dataclass(frozen=True, slots=True)
class Daemon:
    """The daemon of one node, ready to be put together."""

    settings: Settings
    own: LauncherSettings
    kafka: KafkaSettings
    clock: SystemClock

    def run(self, shutdown: Shutdown) -> None:
        """Run processes until asked to stop; then drain them and leave.

        Raises:
            RequestError: Another daemon of the node runs, or an address is in use.
            TransientError: The broker is away at the start.
            FatalError: Something broke that only a restart can mend; the processes go on for it.
        """
        folder = NodeFolder(self.settings.home, self.own.node)
        constants = {"node": folder.node}
        with ExitStack() as stack:
            stack.enter_context(folder.held())
            told = stack.enter_context(
                watched("launcher", metrics.LAUNCHER, self.settings, clock=self.clock, constants=constants)
            )
            server = stack.enter_context(listen(self.own.host, self.own.port))
            trust, own_trust = self._trust()
            url = self.own.url or f"{self._scheme}://{self.own.host}:{server.getsockname()[1]}"
            log.info("starting", node=folder.node, kafka=self.kafka.bootstrap, url=url, health=told.url)
            kinds = load_kinds()
            view = stack.enter_context(FleetView(self.kafka, kinds))
            runner = stack.enter_context(closing(load_runner(self.own.runner)(folder)))
            heart = self._heart(folder, url, kinds, stack.enter_context(Reporter(self.kafka)), told.health)
            heart.beat()  # Before anything is adopted: what runs here lives by this lease.
            agent = self._agent(view, runner, kinds, stack)
            agent.adopt()
            election = stack.enter_context(Election(self.kafka, ASSIGNMENTS_TOPIC, group=OFFICE))
            controller = Controller(election, view, self.own.restarts, self.clock)
            token = self.own.token.get_secret_value() if self.own.token else own_token(self.settings.home)
            examiner = stack.enter_context(
                Examiner(self.kafka, is_heard=lambda: heart.is_heard, registries=self.own.registries)
            )
            desk = stack.enter_context(
                Desk(
                    self.kafka,
                    view,
                    kinds,
                    node=folder.node,
                    runner=runner,
                    token=token,
                    trust=trust,
                    clock=self.clock,
                    examiner=examiner,
                )
            )
            known = stack.enter_context(KeyView(self.kafka))
            self._check_openness(known)
            keys = stack.enter_context(KeyDesk(self.kafka, known, self.clock))
            jobs = stack.enter_context(JobDesk(self.kafka, view, kinds, self.clock))

            def take_stock() -> Inventory:
                heart.inventory = self._inventory(kinds)
                return heart.inventory

            environments = stack.enter_context(
                EnvironmentDesk(
                    self.kafka,
                    view,
                    node=folder.node,
                    token=token,
                    trust=trust,
                    installer=self.own.installer,
                    take_stock=take_stock,
                )
            )
            tokens = stack.enter_context(
                open_tokens(self.own.oidc, self.clock, partial(told.instruments.follow, metrics.PROVIDER_KEYS_AGE))
            )
            doorkeeper = Doorkeeper(known, clock=self.clock, owner=token, tokens=tokens)
            guard = Guard(doorkeeper, desk, self.clock, count=partial(_count_refusal, told.instruments))
            expositions = stack.enter_context(Expositions(trust))
            sampler = Sampler(runner, expositions, self.clock)
            stack.enter_context(repeated(sampler.turn, EVERY, self.clock, name="sampler"))
            insights = stack.enter_context(
                Insights(
                    self.kafka,
                    self.settings,
                    view,
                    sampler,
                    node=folder.node,
                    token=token,
                    trust=trust,
                    clock=self.clock,
                )
            )
            own_metrics = told.instruments.exposition
            scraping = Scraping(view, kinds, runner, expositions, node=folder.node, token=token, own=own_metrics)
            site = stack.enter_context(Site(self._own_address(server), self.clock, own_trust))
            api = make_api(
                desk,
                keys=keys,
                jobs=jobs,
                environments=environments,
                insights=insights,
                scraping=scraping,
                guard=guard,
            )
            api.mount("/", site.application())
            stack.enter_context(RestServer(api, server, self.own.tls))
            meter = Meter(runner, expositions, view, heart)
            stack.enter_context(repeated(meter.turn, BEAT, self.clock, name="meter"))
            scaler = stack.enter_context(Scaler(self.kafka, view, lambda: controller.is_elected, self.clock))
            folder.announce(url)
            self._work(agent, heart, controller, scaler, told=told, shutdown=shutdown)

    @property
    def _scheme(self) -> str:
        return "http" if self.own.tls is None else "https"

    def _trust(self) -> tuple[ssl.SSLContext, ssl.SSLContext | None]:
        """How other daemons are asked, and how this one asks itself where it speaks TLS.

        Raises:
            RequestError: A certificate is none, or this daemon would ask itself for one that it does not have.
        """
        shown, door = self.settings.tls, self.own.tls
        if door is None:
            return shown.context(), None
        door.context()  # What is wrong with it is said before anything is begun.
        if door.client_ca is not None and shown.certificate is None:
            raise RequestError(
                "the REST API asks for certificates, and this daemon, which asks itself and others, has none to show",
                remedy="set MILLRACE_TLS__CERTIFICATE and __KEY to one that MILLRACE_LAUNCHER__TLS__CLIENT_CA signed",
            )
        return shown.context(), door.own_client(shown)

    def _own_address(self, server: socket) -> str:
        """Where this machine reaches its own REST API."""
        everywhere = {"0.0.0.0", "::", ""}  # noqa: S104 -- compared, not bound
        host = "127.0.0.1" if self.own.host in everywhere else self.own.host
        return f"{self._scheme}://{host}:{server.getsockname()[1]}"

    def _check_openness(self, known: KeyView) -> None:
        """Refuse an address that others reach as long as nobody has a key: the owner's file is not for other machines.

        Raises:
            RequestError: There is no key.
        """
        now_ms = self.clock.wall_ms()
        has_key = any(key.state(now_ms) is KeyState.VALID for key in known.all())
        if has_key or self.own.token or self.own.oidc or is_loopback(self.own.host):
            return
        raise RequestError(
            f"the REST API would be open to others on {self.own.host}, and there is no key for it",
            remedy="start it on 127.0.0.1 first, `millrace keys create NAME --role admin`, and then here",
        )

    def _heart(
        self, folder: NodeFolder, url: str, kinds: Mapping[str, Kind], reporter: Reporter, health: Health
    ) -> Heart:
        return Heart(
            folder=folder,
            reporter=reporter,
            inventory=self._inventory(kinds),
            url=url,
            epoch=self.clock.wall_ms(),
            lease=self.own.lease,
            clock=self.clock,
            health=health,
        )

    def _inventory(self, kinds: Mapping[str, Kind]) -> Inventory:
        memory_bytes = None if self.own.memory_mb is None else self.own.memory_mb << 20
        return take_inventory(installed(kinds), cores=self.own.cores, memory_bytes=memory_bytes, runner=self.own.runner)

    def _agent(self, view: FleetView, runner: Runner, kinds: Mapping[str, Kind], stack: ExitStack) -> Agent:
        return Agent(
            node=self.own.node,
            runner=runner,
            view=view,
            reporter=stack.enter_context(Reporter(self.kafka)),
            prober=stack.enter_context(Prober(self.clock, {kind.name: kind.ready for kind in kinds.values()})),
            kinds=kinds,
            settings=self.settings,
            kafka=self.kafka,
            clock=self.clock,
            vigil=Vigil(timedelta(seconds=self.own.hung_secs)),
            store=LocalStore(self.settings, self.clock),
        )

    def _work(
        self, agent: Agent, heart: Heart, controller: Controller, scaler: Scaler, *, told: Watched, shutdown: Shutdown
    ) -> None:
        telemetry = Telemetry(told.instruments, told.health)
        with ExitStack() as stack:
            leaving = Event()
            work = (
                (heart.beat, BEAT, "heart", None),
                (controller.turn, timedelta(0), "controller", leaving),
                (scaler.turn, _TURN, "scaler", leaving),
            )
            threads = [
                stack.enter_context(repeated(turn, every, self.clock, name=name, until=until))
                for turn, every, name, until in work
            ]
            while shutdown.phase() is Phase.RUNNING:
                for thread in threads:
                    thread.check()
                agent.turn()
                heart.decides = controller.is_elected
                hanging = next(filter(None, (thread.hangs() for thread in threads)), "")
                telemetry.turn(agent.told, is_elected=controller.is_elected, is_heard=heart.is_heard, hanging=hanging)
                shutdown.wait(_TURN)
            log.info("leaving", node=agent.node)
            heart.state, heart.decides = NodeState.LEAVING, False
            leaving.set()  # Whoever leaves decides nothing any more.
            pace = Event()
            while not agent.drain_everything():
                told.health.turn()
                if shutdown.phase() is Phase.ABORTING:
                    agent.kill_everything()
                pace.wait(_TURN.total_seconds())
        heart.state = NodeState.LEFT
        heart.beat()
        log.info("left", node=agent.node)


def _count_refusal(instruments: Instruments, reason: metrics.Refusal) -> None:
    instruments.add(metrics.REQUESTS_REFUSED, reason=reason)
