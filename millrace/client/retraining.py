"""Asking by hand for a better version of a model, and hearing what came of it."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

import numpy as np

from millrace.core.audit.decisions import RetrainReason, RetrainRequest, TrainingData, Trigger
from millrace.core.audit.report import canonical_json
from millrace.core.errors import RequestError
from millrace.core.records import OutputBatch
from millrace.kafka.admin import Admin
from millrace.kafka.appending import RETRAIN_TOPIC
from millrace.kafka.reading import Reader, Until
from millrace.kafka.writing import Writer, at_writing
from millrace.process.retraining import ENDS, LoopAnswer, Requested, read_loop_record
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


def read_loop(
    kafka: KafkaSettings, model: str, *, loop_id: str | None = None, until: Until = Until.NOW
) -> Iterator[Requested | LoopAnswer]:
    """Requests of a model and their answers, oldest first. Records that are none are passed over.

    Args:
        kafka: The cluster.
        model: The model's name.
        loop_id: Only of this loop.
        until: Where to stop. Waiting ends when the loop, where one is named, has its last answer.

    Raises:
        RequestError: Nobody has ever asked for a better version here.
        TransientError: No broker answers.
        FatalError: The broker refuses this client.
    """
    with Reader(kafka, RETRAIN_TOPIC.name, until=until) as reader:
        for batch in reader:
            for key, value in zip(batch.keys, batch.values, strict=True):
                record = _read(value) if key == model.encode() else None
                if record is None or loop_id not in {None, record.loop_id}:
                    continue
                yield record
                if loop_id is not None and isinstance(record, ENDS):
                    return


def _read(value: bytes | None) -> Requested | LoopAnswer | None:
    try:
        return read_loop_record(value, subject=RETRAIN_TOPIC.name)
    except RequestError:
        return None
