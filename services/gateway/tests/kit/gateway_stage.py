"""A gateway in this process, on the real broker: as the composition root makes it, but for signals."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import httpx

from millrace.process.clock import SystemClock
from millrace.process.deployment import Deployment
from millrace.process.settings import Settings
from millrace.testing.broker import Broker
from millrace.testing.running import at_work
from millrace.testing.waiting import eventually
from millrace_gateway.app import Gateway
from millrace_gateway.settings import GatewaySettings, Grpc, Rest


def free_port() -> int:
    """A port that nobody listens on now."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class GatewayStage:
    """Where gateways of one test run: a broker, a home, and addresses of their own."""

    broker: Broker
    settings: Settings
    rest_port: int = field(default_factory=free_port)
    grpc_port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.rest_port}"

    @property
    def secure_url(self) -> str:
        return f"https://127.0.0.1:{self.rest_port}"

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    def options(self, **sections: object) -> GatewaySettings:
        """Settings with this stage's addresses; sections by name, as `limits={"body_bytes": 100}`."""
        addresses = {"rest": Rest(port=self.rest_port), "grpc": Grpc(port=self.grpc_port)}
        return GatewaySettings.model_validate({**addresses, **sections})

    @contextmanager
    def running(
        self,
        *deployments: Deployment,
        options: GatewaySettings | None = None,
        slot: int = 0,
        clock: SystemClock | None = None,
        trust: ssl.SSLContext | None = None,
    ) -> Iterator[httpx.Client]:
        """A gateway at work, ready; and a client of it, over TLS with `trust`. Raises what ended it early."""
        chosen, told = options or self.options(), clock or SystemClock()
        gateway = Gateway(self.settings, chosen, self.broker.kafka, deployments, slot=slot, clock=told)
        with (
            at_work(gateway.run, name=f"gateway-{slot}"),
            httpx.Client(base_url=self.secure_url if trust else self.url, timeout=30, verify=trust or True) as client,
        ):
            eventually(lambda: is_ready(client), within=timedelta(seconds=60), what="the gateway's readiness")
            yield client


def is_ready(client: httpx.Client) -> bool:
    """Whether the gateway says that it is ready."""
    try:
        return client.get("/v2/health/ready").status_code == 200
    except httpx.TransportError:
        return False
