"""What is made of latencies that were measured."""

import json

import numpy as np
import pytest

from tests.perf import latency
from tests.perf.latency import Latency
from tests.perf.peers import steady
from tests.perf.peers.peers import Who
from tests.perf.peers.race import Paced


def paced(p99: float) -> Paced:
    return Paced(Latency(1.0, p99, 3 * p99, 50_000), cores=0.1, memory_mib=100)


def test_quantiles_are_in_order() -> None:
    assert latency.told(np.arange(1_001.0)) == Latency(500.0, 990.0, 999.0, 1_001)


@pytest.mark.parametrize(("p99", "met"), [(20.0, True), (20.2, False)])
def test_the_median_run_is_held_against_the_relays(p99: float, met: bool, capsys: pytest.CaptureFixture[str]) -> None:
    found = {Who.RELAY: [paced(10), paced(10), paced(90)], Who.NATIVE: [paced(1), paced(p99), paced(90)]}
    steady.tell(found, 5_000, 1)
    figures = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    [aim] = [figure for figure in figures if figure["figure"] == "aim"]
    assert (aim["who"], aim["met"]) == ("native", met)
    assert [figure["p99_ms"] for figure in figures if figure["figure"] == "latency"] == [10.0, p99]
