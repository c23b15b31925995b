"""Which micro-batches are scored on the event loop."""

from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from millrace.core.columns import FeatureColumns
from millrace.core.outputs import Outputs
from millrace.serving.loading import LoadedModel, load
from millrace.testing.clock import ManualClock
from millrace.testing.models import linear_bundle
from millrace_gateway.adapters.prompt import prompt_rows


@dataclass
class Slow:
    """A runtime that takes its time for each row."""

    model: LoadedModel
    clock: ManualClock
    per_row: timedelta
    device: str

    def infer(self, columns: FeatureColumns) -> Outputs:
        self.clock.advance(self.per_row * len(columns))
        return self.model.runtime.infer(columns)

    def close(self) -> None:
        self.model.close()


@pytest.mark.parametrize(
    ("per_row_us", "device", "expected"), [(0.1, "cpu", 1024), (1, "cpu", 64), (201, "cpu", 0), (0.1, "cuda", 0)]
)
def test_what_takes_no_longer_than_waking_a_thread(
    tmp_path: Path, per_row_us: float, device: str, expected: int
) -> None:
    model, clock = load(linear_bundle(tmp_path / "bundle")), ManualClock()
    slow = Slow(model, clock, timedelta(microseconds=per_row_us), device)
    assert prompt_rows(replace(model, runtime=slow), clock) == expected
