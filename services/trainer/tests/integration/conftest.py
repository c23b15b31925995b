import uuid
from pathlib import Path

import pytest
from trainer_stream import Loop

from millrace.process.settings import Settings
from millrace.testing.broker import Broker


@pytest.fixture
def loop(broker: Broker, tmp_path: Path) -> Loop:
    """A model whose champion looks at the wrong feature, with nothing sent yet."""
    made = Loop(broker, Settings(home=tmp_path / "home"), f"m-{uuid.uuid4().hex[:10]}")
    made.push(tmp_path / "champion", (0, 0, 1))
    return made
