"""Histograms of arrays count what a loop would count."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from millrace.telemetry.metrics import Instruments, Kind, MetricSpec, Unit

BOUNDS = (0.5, 1.0, 2.5, 10.0)
TAKEN = MetricSpec("test", "taken", Unit.SECONDS, Kind.HISTOGRAM, "Taken.", (), BOUNDS)
numbers = st.floats(min_value=0, max_value=100) | st.sampled_from(BOUNDS)


@given(st.lists(st.lists(numbers, max_size=20) | numbers, max_size=8))
def test_a_histogram_counts_up_to_and_with_each_bound(batches: list[list[float] | float]) -> None:
    instruments = Instruments([TAKEN])
    for batch in batches:
        instruments.observe(TAKEN, batch)
    everything = [number for batch in batches for number in (batch if isinstance(batch, list) else [batch])]
    found = {
        sample.labels["le"]: sample.value
        for family in text_string_to_metric_families(instruments.exposition().decode())
        for sample in family.samples
        if sample.name == f"{TAKEN.name}_bucket"
    }
    expected = {str(bound): sum(number <= bound for number in everything) for bound in BOUNDS}
    assert found == {**expected, "+Inf": len(everything)}
