"""Reading what a report is made from: the only part of it that asks Kafka."""

from datetime import datetime
from typing import Final

from millrace.client.audits import ALERTS_TOPIC, newest_reports, read_alerts, read_audits
from millrace.client.report.material import Material
from millrace.client.retraining import read_loop
from millrace.core.audit.report import WHOLE
from millrace.kafka.admin import Admin
from millrace.kafka.appending import RETRAIN_TOPIC
from millrace.kafka.control import ControlView
from millrace.kafka.control_writer import DEPLOYMENTS_TOPIC
from millrace.process.deployment import Audit as AuditSettings
from millrace.process.deployment import Deployment, find_deployment
from millrace.process.retraining import LoopAnswer, Noted, Requested
from millrace.process.settings import KafkaSettings

WINDOWS: Final = 1_000
"""Reports that a page shows unless told otherwise: more than a picture has room for, and a file that a phone opens."""


def gather(
    kafka: KafkaSettings,
    deployment: str,
    *,
    now: datetime,
    document: Deployment | None = None,
    windows: int = WINDOWS,
) -> Material:
    """Read everything that is known of a deployment's audit.

    Args:
        kafka: The cluster.
        deployment: Its name.
        now: The time.
        document: Its document; looked up in `millrace.deployments` where absent.
        windows: How many reports at most, the newest ones.

    Raises:
        RequestError: No auditor has run for the deployment, or its document is not valid.
        InvalidRecordError: A record is no report, or no alert.
        TransientError: No broker answers.
        FatalError: The broker refuses this client.
    """
    whole = (audit for audit in read_audits(kafka, deployment) if audit.segment == WHOLE)
    found = sorted(newest_reports(whole), key=lambda audit: (audit.window.end, audit.version))
    audits = tuple(found[-windows:])
    topics = Admin(kafka).topic_names()
    known = document or _find(kafka, deployment, topics)
    since = audits[0].window.start if audits else None
    alerts = read_alerts(kafka, deployment) if ALERTS_TOPIC in topics else ()
    return Material(
        deployment=deployment,
        made_at=now,
        audits=audits,
        alerts=tuple(alert for alert in alerts if since is None or not alert.windows or alert.windows[0] >= since),
        loops=_loops(kafka, deployment, {audit.model for audit in audits}, topics),
        settings=AuditSettings() if known is None else known.audit,
        document_known=known is not None,
        left_out=len(found) - len(audits),
    )


def _find(kafka: KafkaSettings, deployment: str, topics: frozenset[str]) -> Deployment | None:
    if DEPLOYMENTS_TOPIC not in topics:
        return None
    with ControlView(kafka, DEPLOYMENTS_TOPIC) as view:
        table = view.refresh()
    return find_deployment(table, deployment) if deployment in table else None


def _loops(
    kafka: KafkaSettings, deployment: str, models: set[str], topics: frozenset[str]
) -> tuple[Requested | LoopAnswer, ...]:
    """Records of the models' loops, but for loops and notes of other deployments' auditors."""
    if RETRAIN_TOPIC.name not in topics:
        return ()
    records = [record for model in sorted(models) for record in read_loop(kafka, model)]
    foreign = {
        record.loop_id for record in records if isinstance(record, Requested) and _is_foreign(record, deployment)
    }
    return tuple(record for record in records if record.loop_id not in foreign and not _is_foreign(record, deployment))


def _is_foreign(record: Requested | LoopAnswer, deployment: str) -> bool:
    return isinstance(record, Requested | Noted) and record.deployment not in {None, deployment}
