"""What the scorer's log and its metrics say is the same."""

from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from millrace.process.health import Health
from millrace.telemetry.metrics import Instruments
from millrace.telemetry.scorer import MODEL, SCORER
from millrace.testing.clock import ManualClock
from millrace_scorer.adapters.telemetry import Telemetry
from millrace_scorer.logic.lineup import Lineup, Member


def test_the_log_names_the_version_at_work_as_the_metric_does() -> None:
    instruments = Instruments(SCORER)
    with capture_logs() as lines:
        Telemetry(instruments, Health(clock=ManualClock())).models(Lineup("rain", Member(3, "sha256:1")))
    exposed = text_string_to_metric_families(instruments.exposition().decode())
    [sample] = [each for family in exposed for each in family.samples if each.name == MODEL.name]
    [line] = [each for each in lines if each["event"] == "model at work"]
    assert sample.labels == {label.name: line[label.name] for label in MODEL.labels}
    assert sample.labels["version"] == "3"
