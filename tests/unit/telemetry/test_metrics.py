import re
import threading

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from millrace.core.errors import Reason, RequestError
from millrace.telemetry.metrics import Instruments, Kind, Label, MetricSpec, Unit
from millrace.telemetry.scorer import MODEL, RECORDS_CONSUMED, RECORDS_DEAD_LETTERED, SCORER, STAGE_DURATION, Stage

EATEN = MetricSpec("test", "eaten", Unit.RECORDS, Kind.COUNTER, "Eaten.", (Label("dish", ("soup", "cake")),))
HELD = MetricSpec("test", "held", Unit.BYTES, Kind.GAUGE, "Held.")
TAKEN = MetricSpec("test", "taken", Unit.SECONDS, Kind.HISTOGRAM, "Taken.", (), (0.1, 1, 10))
NAMED = MetricSpec("test", "named", Unit.INFO, Kind.GAUGE, "Named.", (Label("name"),))


def samples(instruments: Instruments) -> dict[str, float]:
    """Every sample of our own metrics, by its name and labels as exposition writes them."""
    families = text_string_to_metric_families(instruments.exposition().decode())
    return {
        sample.name + "".join(f",{key}={value}" for key, value in sample.labels.items()): sample.value
        for family in families
        for sample in family.samples
        if sample.name.startswith("millrace_")
    }


def test_closed_labels_are_there_before_anything_happened() -> None:
    assert samples(Instruments([EATEN, HELD, NAMED])) == {
        "millrace_test_eaten_records_total,dish=soup": 0,
        "millrace_test_eaten_records_total,dish=cake": 0,
        "millrace_test_held_bytes": 0,
    }


def test_counters_add_and_gauges_are_set() -> None:
    instruments = Instruments([EATEN, HELD])
    instruments.add(EATEN, 3, dish="soup")
    instruments.add(EATEN, dish="soup")
    instruments.set(HELD, 7)
    instruments.set(EATEN, 40, dish="cake")
    found = samples(instruments)
    assert found["millrace_test_eaten_records_total,dish=soup"] == 4
    assert found["millrace_test_eaten_records_total,dish=cake"] == 40
    assert found["millrace_test_held_bytes"] == 7


def test_a_followed_gauge_is_read_when_somebody_looks() -> None:
    instruments, held = Instruments([HELD]), 1.0
    instruments.follow(HELD, lambda: held)
    assert samples(instruments) == {"millrace_test_held_bytes": 1}
    held = 2.0
    assert samples(instruments) == {"millrace_test_held_bytes": 2}


def test_an_info_metric_forgets_what_was() -> None:
    instruments = Instruments([NAMED])
    instruments.replace(NAMED, 1, name="old")
    instruments.replace(NAMED, 1, name="new")
    assert samples(instruments) == {"millrace_test_named_info,name=new": 1}


def test_a_histogram_counts_arrays_up_to_and_with_each_bound() -> None:
    instruments = Instruments([TAKEN])
    instruments.observe(TAKEN, np.array([0.05, 0.1, 0.5, 1.0, 10.0, 11.0]))
    instruments.observe(TAKEN, 0.2)
    instruments.observe(TAKEN, [])
    found = samples(instruments)
    assert [found[f"millrace_test_taken_seconds_bucket,le={bound}"] for bound in ("0.1", "1", "10", "+Inf")] == [
        2,
        5,
        6,
        7,
    ]
    assert found["millrace_test_taken_seconds_count"] == 7
    assert found["millrace_test_taken_seconds_sum"] == pytest.approx(22.85)


def test_constants_stand_on_every_series() -> None:
    instruments = Instruments([HELD, TAKEN], constants={"deployment": "rain"})
    assert all("deployment=rain" in name for name in samples(instruments))


def test_the_process_itself_is_measured_too() -> None:
    assert b"process_resident_memory_bytes" in Instruments([]).exposition()


def test_unknown_metrics_and_labels_are_bugs() -> None:
    instruments = Instruments([EATEN])
    with pytest.raises(KeyError):
        instruments.set(HELD, 1)
    with pytest.raises(KeyError):
        instruments.add(EATEN)
    with pytest.raises(KeyError):
        instruments.add(EATEN, plate="soup")
    with pytest.raises(ValueError, match="dish is one of"):
        instruments.add(EATEN, dish="salad")


@pytest.mark.parametrize(
    ("noun", "kind", "buckets"),
    [
        ("Eaten", Kind.COUNTER, ()),
        ("eaten-up", Kind.COUNTER, ()),
        ("eaten", Kind.HISTOGRAM, ()),
        ("eaten", Kind.HISTOGRAM, (2.0, 1.0)),
        ("eaten", Kind.GAUGE, (1.0,)),
    ],
)
def test_a_spec_outside_the_grammar_is_refused(noun: str, kind: Kind, buckets: tuple[float, ...]) -> None:
    with pytest.raises(RequestError):
        MetricSpec("test", noun, Unit.RECORDS, kind, "Refused.", (), buckets)


def test_threads_lose_no_count() -> None:
    instruments = Instruments([HELD])

    def count() -> None:
        for _ in range(2_000):
            instruments.add(HELD)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert samples(instruments)["millrace_test_held_bytes"] == 8_000


def test_the_scorers_table_is_closed_named_by_the_grammar_and_explained() -> None:
    names = [spec.name for spec in SCORER]
    assert len(set(names)) == len(names)
    for spec in SCORER:
        assert re.fullmatch(r"millrace_(scorer|lane)_[a-z_]+", spec.name)
        assert (spec.kind is Kind.COUNTER) == spec.name.endswith("_total")
        assert spec.sentence.endswith(".")


def test_the_scorers_labels_are_closed_lists() -> None:
    instruments = Instruments(SCORER)
    found = samples(instruments)
    assert sum(name.startswith(f"{RECORDS_DEAD_LETTERED.name},reason=") for name in found) == len(Reason)
    assert {label.name for spec in SCORER for label in spec.labels if not label.values} == {
        *(label.name for label in MODEL.labels),
        "python",
    }
    instruments.add(RECORDS_CONSUMED, 5)
    instruments.add(RECORDS_DEAD_LETTERED, 1, reason=Reason.EMPTY)
    instruments.observe(STAGE_DURATION, 0.01, stage=Stage.INFER)
