"""Rows of acceptance about what is measured."""

import time
import uuid
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import httpx
import numpy as np
import pytest
from gateway_stage import GatewayStage
from prometheus_client.parser import text_string_to_metric_families
from scorer_stream import Stream

from millrace.process.deployment import Deployment
from millrace.process.settings import Settings
from millrace.serving.export import Origin, export_function
from millrace.telemetry.inference import REQUEST_DURATION
from millrace.testing.broker import Broker

REQUESTS = 300
SLOW_EVERY = 20

WAITING_MODEL = """
import time

def score(features):
    # As long as the request says: an answer in that time is what both sides measure.
    time.sleep(float(features["secs"][0]))
    return features["secs"] * 0
"""
QUICK_SECS, SLOW_SECS = 0.012, 0.040


@dataclass(frozen=True, slots=True)
class Histogram:
    """What a histogram says: how many were at most as long as each bound, infinity last."""

    bounds: Sequence[float]
    counts: Sequence[float]

    @classmethod
    def read(cls, exposition: str, name: str) -> "Histogram":
        """The histogram of a name in Prometheus' text format, where it has one series."""
        samples = [
            sample
            for family in text_string_to_metric_families(exposition)
            for sample in family.samples
            if sample.name == f"{name}_bucket"
        ]
        return cls([float(sample.labels["le"]) for sample in samples], [sample.value for sample in samples])

    def quantile(self, part: float) -> float:
        """As `histogram_quantile` has it: linear inside a bucket."""
        wanted = part * self.counts[-1]
        edges = pairwise(zip((0.0, *self.bounds), (0.0, *self.counts), strict=True))
        for (low, below), (high, held) in edges:
            if held >= wanted and held > below:
                return low if high == float("inf") else low + (high - low) * (wanted - below) / (held - below)
        return 0.0

    def agrees(self, part: float, measured: float) -> bool:
        """Whether a quantile is what somebody else has measured: within 10 %, or not more than a bucket away."""
        told = self.quantile(part)
        apart = abs(bisect_left(self.bounds, told) - bisect_left(self.bounds, measured))
        return apart <= 1 or abs(told - measured) <= 0.1 * measured


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def waiting(broker: Broker, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """A deployment whose model takes as long as it is told to."""
    (tmp_path / "waiting_rules.py").write_text(WAITING_MODEL)
    monkeypatch.syspath_prepend(tmp_path)
    stream = Stream(broker, settings, f"d-{uuid.uuid4().hex[:10]}", 1)
    bundle = export_function(
        "waiting_rules:score",
        {"secs": np.linspace(0, 0.001, 10)},
        origin=Origin(f"{stream.name}-waiting", datetime(2026, 1, 1, tzinfo=UTC)),
        directory=tmp_path / "waiting",
    )
    with stream.registry() as registry:
        registry.push(bundle.directory)
    return stream.deployment(model=f"{stream.name}-waiting", runtime={"python_functions": True})


def test_s26_the_reported_latencies_are_those_that_a_client_measures(
    broker: Broker, settings: Settings, waiting: Deployment
) -> None:
    with GatewayStage(broker, settings).running(waiting) as client:
        measured = [
            seconds_of(client, waiting.deployment, SLOW_SECS if number % SLOW_EVERY == 0 else QUICK_SECS)
            for number in range(REQUESTS)
        ]
        told = Histogram.read(client.get("/metrics").text, REQUEST_DURATION.name)
    assert told.counts[-1] == REQUESTS
    for part in (0.5, 0.99):
        assert told.agrees(part, float(np.quantile(measured, part))), (part, told, measured)


def test_what_is_far_from_what_is_told_does_not_agree() -> None:
    told = Histogram([0.01, 0.02, 0.05, 0.1, float("inf")], [0, 90, 100, 100, 100])
    assert told.quantile(0.5) == pytest.approx(0.01 + 0.01 * 50 / 90)
    assert [told.agrees(0.5, seconds) for seconds in (0.015, 0.04, 0.06, 0.2)] == [True, True, False, False]


def seconds_of(client: httpx.Client, model: str, secs: float) -> float:
    """How long a request takes whose model waits for so long."""
    [wanted] = client.get(f"/v2/models/{model}").json()["inputs"]
    tensor = {"name": wanted["name"], "datatype": wanted["datatype"], "shape": [1, 1], "data": [secs]}
    started = time.perf_counter()
    client.post(f"/v2/models/{model}/infer", json={"inputs": [tensor]}).raise_for_status()
    return time.perf_counter() - started
