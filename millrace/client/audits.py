"""What the auditor says of a deployment: reports, window by window, and the alerts that follow from them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias, TypeVar

import msgspec

from millrace.core.errors import InvalidRecordError, Reason, RequestError
from millrace.kafka.admin import Admin
from millrace.kafka.reading import Position, Reader, Start, Until
from millrace.process.settings import KafkaSettings

ALERTS_TOPIC: Final = "millrace.alerts"
SUFFIX: Final = ".audits"

Stage: TypeAlias = Literal["closed", "mature", "amended"]


@dataclass(frozen=True, slots=True)
class Span:
    """The event times of a window: from `start` (included) to `end` (not included)."""

    start: datetime
    end: datetime
    size_s: int


@dataclass(frozen=True, slots=True)
class Figure:
    """A metric of a window, with its 95 % interval and the error bound that counting in bins brings."""

    value: float | None
    lo: float | None
    hi: float | None
    n: int
    error_bound: float | None = None


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a window is labelled: in all, and per tenth of the score range."""

    overall: float
    by_score_bin: tuple[float | None, ...] = ()
    by_score_bin_min: float | None = None
    median_label_delay_s: float | None = None


@dataclass(frozen=True, slots=True)
class DriftOfFeature:
    """How far one feature is from its reference.

    Attributes:
        feature: Its name.
        js: Jensen-Shannon distance.
        effect: The distance beyond chance.
        log_evidence: Logarithm of the evidence gathered over windows.
        psi: Population stability index.
    """

    feature: str
    js: float | None
    effect: float | None
    log_evidence: float | None
    psi: float | None = None


@dataclass(frozen=True, slots=True)
class QualityCheck:
    """One check of the data; `feature` is `*` for the window as a whole."""

    feature: str
    check: str
    value: float
    limit: float
    ok: bool


@dataclass(frozen=True, slots=True)
class Evidence:
    """A detector after a window: what it compares, what it has gathered, and at what it alarms.

    Attributes:
        signal: The metric that is watched, or `drift`.
        baseline: The metric on the reference; 0 for drift.
        observed: The metric in the window; None where it is not known.
        log_evidence: Logarithm of the evidence; None before there is any.
        threshold: The evidence at which it alarms: also the mean number of steps to a false alarm, at the least.
    """

    signal: str
    baseline: float | None
    observed: float | None
    log_evidence: float | None
    threshold: float | None


@dataclass(frozen=True, slots=True)
class Reference:
    """What a version is compared with.

    Attributes:
        id: Digest of the bundle's reference profile; None where the bundle has none.
        rows: Rows that the profile was made of.
        baseline_learnt: Whether the baseline of performance is that of the first mature windows.
        baseline_windows: How many mature windows were looked at for it so far.
    """

    id: str | None
    rows: int
    baseline_learnt: bool
    baseline_windows: int


@dataclass(frozen=True, slots=True)
class LabelHorizon:
    """How long labels are waited for before a window is mature; `assumed` where no deployment's document says it."""

    size_s: float
    assumed: bool


@dataclass(frozen=True, slots=True)
class Audit:
    """One report about one window of one version. A window has several: closed, mature, and one per amendment.

    Attributes:
        id: Equal for equal reports.
        model: The model.
        version: Its version.
        segment: `*` for the whole.
        window: The event times.
        stage: `closed`: predictions complete. `mature`: labels complete. `amended`: corrected since.
        revision: How often the window was reported before.
        counts: Predictions, labels, and what was odd about them.
        coverage: How much is labelled.
        performance: Metrics by name.
        drift: Features, strongest evidence first.
        quality: Checks of the data.
        inputs: Offsets of the predictions: topic, partition, first and one past the last.
        estimate: Metrics estimated without labels, as the report has them.
        evidence: The detectors after this window.
        reference: What the version is compared with.
        label_horizon: How long labels are waited for; None in reports that do not say.
    """

    id: str
    model: str
    version: int
    segment: str
    window: Span
    stage: Stage
    revision: int
    counts: Mapping[str, int]
    coverage: Coverage
    performance: Mapping[str, Figure]
    drift: tuple[DriftOfFeature, ...]
    quality: tuple[QualityCheck, ...]
    inputs: Mapping[str, Mapping[str, tuple[int, int]]]
    estimate: Mapping[str, Any] | None = None
    evidence: tuple[Evidence, ...] = ()
    reference: Reference | None = None
    label_horizon: LabelHorizon | None = None

    def evidence_of(self, signal: str) -> Evidence | None:
        """The detector of this signal; None where none watches it."""
        return next((evidence for evidence in self.evidence if evidence.signal == signal), None)

    def document(self) -> dict[str, Any]:
        """The report as JSON values."""
        built: dict[str, Any] = msgspec.to_builtins(self)
        return built


@dataclass(frozen=True, slots=True)
class AuditAlert:
    """A change of an alert.

    Attributes:
        id: Equal for equal changes.
        state: `raised`, `escalated` or `cleared`.
        signal: `quality`, `performance`, `estimate`, `drift` or `rollback_advice`.
        deployment: Whose.
        model: The model.
        version: Its version.
        feature: The feature; empty where it is about none.
        metric: The metric or check; empty where it is about none.
        windows: Starts of the windows that decided.
        effect: Size of the effect.
        log_evidence: Logarithm of the evidence; None where none is needed.
        report_ids: The reports that decided.
        note: What a reader should know.
        threshold: The evidence at which its detector alarms; 0 or None where it needs none.
    """

    id: str
    state: Literal["raised", "escalated", "cleared"]
    signal: str
    deployment: str
    model: str
    version: int
    feature: str
    metric: str
    windows: tuple[datetime, ...]
    effect: float | None
    log_evidence: float | None
    report_ids: tuple[str, ...]
    note: str = ""
    threshold: float | None = None

    def document(self) -> dict[str, Any]:
        """The alert as JSON values."""
        built: dict[str, Any] = msgspec.to_builtins(self)
        return built


_Document = TypeVar("_Document", Audit, AuditAlert)


def read_audit(value: bytes | None) -> Audit:
    """A report from the value of its record.

    Raises:
        InvalidRecordError: It is none.
    """
    return _read(value, Audit)


def read_alert(value: bytes | None) -> AuditAlert:
    """An alert from the value of its record; raises as `read_audit`."""
    return _read(value, AuditAlert)


def audit_in(document: Mapping[str, Any]) -> Audit:
    """The report that `Audit.document` wrote; raises as `read_audit`."""
    return _read(msgspec.json.encode(document), Audit)


def alert_in(document: Mapping[str, Any]) -> AuditAlert:
    """The alert that `AuditAlert.document` wrote; raises as `read_audit`."""
    return _read(msgspec.json.encode(document), AuditAlert)


def newest_reports(audits: Iterable[Audit]) -> list[Audit]:
    """The newest report of each window, in the order of event time."""
    by_window = {(report.version, report.segment, report.window.start): report for report in audits}
    return sorted(by_window.values(), key=lambda report: (report.window.start, report.version))


def open_alerts(alerts: Iterable[AuditAlert], audits: Iterable[Audit] = ()) -> list[AuditAlert]:
    """The alerts that were raised and not cleared, oldest first, each as it was raised or escalated.

    Args:
        alerts: Changes of alerts, oldest first.
        audits: Reports. Where there are any, only alerts of the versions that the newest window is about: a version
            that scores no more has no reports any more, and so nothing that could clear its alerts.
    """
    found = {(each.version, each.signal, each.feature, each.metric): each for each in alerts}
    reports = list(audits)
    newest = max((report.window.start for report in reports), default=None)
    versions = {report.version for report in reports if report.window.start == newest}
    return [each for each in found.values() if each.state != "cleared" and (not reports or each.version in versions)]


def audits_topic(deployment: str) -> str:
    """The topic of a deployment's reports."""
    return deployment if deployment.endswith(SUFFIX) else f"{deployment}{SUFFIX}"


def read_audits(
    kafka: KafkaSettings, deployment: str, *, start: Start = Position.EARLIEST, until: Until = Until.NOW
) -> Iterator[Audit]:
    """Committed reports in the order in which they were made.

    Raises:
        RequestError: No auditor has run for the deployment.
        InvalidRecordError: A record is no report.
        TransientError: No broker answers.
        FatalError: The broker refuses this client.
    """
    try:
        reader = Reader(kafka, audits_topic(deployment), start=start, until=until)
    except RequestError as error:
        audited = sorted(name.removesuffix(SUFFIX) for name in Admin(kafka).topic_names() if name.endswith(SUFFIX))
        found = f"audited are {', '.join(audited)}" if audited else "start one: millrace-auditor --name NAME"
        raise RequestError(error.message, remedy=found) from error
    with reader:
        while not reader.finished:
            yield from map(read_audit, reader.read().values)


def read_alerts(
    kafka: KafkaSettings, deployment: str, *, start: Start = Position.EARLIEST, until: Until = Until.NOW
) -> Iterator[AuditAlert]:
    """Committed changes of a deployment's alerts, oldest first; raises as `read_audits`."""
    with Reader(kafka, ALERTS_TOPIC, start=start, until=until) as reader:
        while not reader.finished:
            alerts = map(read_alert, reader.read().values)
            yield from (alert for alert in alerts if alert.deployment == deployment)


def _read(value: bytes | None, kind: type[_Document]) -> _Document:
    try:
        return msgspec.json.decode(value or b"", type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidRecordError(Reason.SCHEMA_MISMATCH, f"this is no {kind.__name__}: {error}") from None
