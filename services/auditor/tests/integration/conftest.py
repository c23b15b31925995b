import uuid
from pathlib import Path
from typing import Any

import pytest
from audit_stream import Audited, MakeAudited

from millrace.process.settings import Settings
from millrace.testing.broker import Broker


@pytest.fixture
def audited(broker: Broker, tmp_path: Path) -> MakeAudited:
    def make(*, partitions: int = 1, model: str = "", **audit: Any) -> Audited:  # noqa: ANN401
        settings = Settings(home=tmp_path / "home")
        made = Audited(broker, settings, f"a-{uuid.uuid4().hex[:10]}", partitions, audit, model)
        if not model:
            made.push(tmp_path / f"{made.name}-bundle")
        return made

    return make
