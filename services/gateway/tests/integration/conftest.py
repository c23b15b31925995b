from pathlib import Path

import pytest
from gateway_stage import GatewayStage

from millrace.process.settings import Settings
from millrace.testing.broker import Broker


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def stage(broker: Broker, settings: Settings) -> GatewayStage:
    return GatewayStage(broker, settings)
