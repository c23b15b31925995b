"""Asking by hand for a better version of a model."""

from datetime import datetime, timedelta
from typing import Final

import numpy as np

from millrace.core.audit.decisions import RetrainReason, RetrainRequest, TrainingData, Trigger
from millrace.core.audit.report import canonical_json
from millrace.core.records import OutputBatch
from millrace.kafka.admin import Admin
from millrace.kafka.appending import RETRAIN_TOPIC
from millrace.kafka.writing import Writer, at_writing
from millrace.process.retraining import Requested, read_loop_record
from millrace.process.settings import KafkaSettings

_LIFE: Final = timedelta(days=7)


def request_retraining(
    kafka: KafkaSettings, model: str, version: int, *, now: datetime, since: datetime | None = None
) -> Requested:
    """Ask for a better version than this one, out of all records up to now; the trainer of the model answers.

    Args:
        kafka: The cluster.
        model: The model's name.
        version: Its champion's version.
        now: The time.
        since: No older records; all that the trainer's document allows where absent.

    Raises:
        TransientError: The broker is away.
        FatalError: The broker refuses this client.
    """
    at_ms = round(now.timestamp() * 1000)
    start_ms = 0 if since is None else round(since.timestamp() * 1000)
    request = RetrainRequest(
        model=model,
        version=version,
        reason=RetrainReason.MANUAL,
        trigger=Trigger("manual"),
        alert_ids=(),
        data=TrainingData(from_ms=start_ms, to_ms=at_ms, labelled=0, coverage=0.0),
        at_ms=at_ms,
        expires_ms=at_ms + round(_LIFE / timedelta(milliseconds=1)),
        policy_id="manual",
    )
    value = canonical_json({**request.to_dict(), "blockers_checked": []})
    Admin(kafka).ensure_topics([RETRAIN_TOPIC])
    with Writer(kafka) as writer:
        writer.write(OutputBatch(RETRAIN_TOPIC.name, np.zeros(1, np.int32), at_writing(1), [model.encode()], [value]))
    written = read_loop_record(value, subject="the request")
    if not isinstance(written, Requested):
        raise TypeError(f"a request reads as {written.type}")
    return written
