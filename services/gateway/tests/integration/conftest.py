import uuid
from pathlib import Path

import pytest
from gateway_stage import GatewayStage
from scorer_stream import MakeStream, Stream

from millrace.process.deployment import Deployment
from millrace.process.settings import Settings
from millrace.testing.broker import Broker


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def stage(broker: Broker, settings: Settings) -> GatewayStage:
    return GatewayStage(broker, settings)


@pytest.fixture
def deployment(stream: MakeStream) -> Deployment:
    """A deployment that a gateway can serve."""
    return stream(partitions=2).deployment()


@pytest.fixture
def stream(broker: Broker, settings: Settings, tmp_path: Path) -> MakeStream:
    """A deployment's topic and model, as the scorer's tests have them."""

    def make(*, partitions: int = 1) -> Stream:
        made = Stream(broker, settings, f"g-{uuid.uuid4().hex[:10]}", partitions)
        made.push(tmp_path / f"{made.name}-bundle")
        return made

    return make
