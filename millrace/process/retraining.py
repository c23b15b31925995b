"""The records of `millrace.retrain-requests`: one loop from a request for a better version to its answer.

The key is the model's name. All records of one loop have the same `loop_id`, in this order::

    requested -> rejected                                  not taken up: says which check said no
    requested -> (accepted ->) failed                      no candidate came of it: says why
    requested -> accepted -> completed -> promoted         the candidate is the champion
                                       -> proposed         it is the challenger, and a person decides
                                       -> refused          it is not better: says by how much

Where the live stream decides, a rollout lies between `completed` and the end.
The auditor or a person writes the request; everything after it is the trainer's, but for one record::

    requested -> ... -> (any end) -> noted                 the auditor has heard it, at this event time
"""

from enum import StrEnum
from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from millrace.core.audit.decisions import RetrainReason
from millrace.core.errors import RequestError
from millrace.core.paired import PairedTest
from millrace.core.promotion import Verdict
from millrace.process.refusal import refusal

STRICT: Final = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False)
"""Documents that machines write: no coercion, no unknown keys."""

Text: TypeAlias = Annotated[str, Field(min_length=1)]
Count: TypeAlias = Annotated[int, Field(ge=0)]
VersionNumber: TypeAlias = Annotated[int, Field(ge=1)]
ModelName: TypeAlias = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=100)]


class OffsetRange(BaseModel):
    """Consecutive records of one partition."""

    model_config = STRICT

    topic: Text
    partition: Count
    first_offset: Count
    next_offset: Count
    """One past the last record."""

    @model_validator(mode="after")
    def _ascend(self) -> Self:
        if self.next_offset < self.first_offset:
            raise ValueError("next_offset is before first_offset")
        return self


class RequestTrigger(BaseModel):
    """The figures that the request rests on."""

    model_config = STRICT

    signal: Text
    baseline: float | None = None
    observed: float | None = None
    evidence: float | None = None
    log_evidence: float | None = None
    threshold: float | None = None
    arl_steps: float | None = None
    windows: tuple[AwareDatetime, ...] = ()
    """Starts of the windows in which the model was degraded, oldest first."""


class RequestData(BaseModel):
    """What there is to train on."""

    model_config = STRICT

    start: Annotated[AwareDatetime, Field(alias="from")]
    """Event time of the oldest record."""
    end: Annotated[AwareDatetime, Field(alias="to")]
    """Event time that all records are older than."""
    labelled: Count = 0
    coverage: float | None = None
    by_score_bin: tuple[float | None, ...] = ()
    label_snapshot_offsets: dict[str, dict[str, Count]] = {}
    """By labels topic and partition: labels from these offsets on came too late for the request."""


class _LoopRecord(BaseModel):
    """What every record of a loop says."""

    model_config = STRICT

    loop_id: Text
    """The same in all records of the loop."""
    model: ModelName
    version: VersionNumber
    """The version that is to be replaced."""


class Requested(_LoopRecord):
    """Somebody asks for a better version."""

    type: Literal["retrain.requested.v1"] = "retrain.requested.v1"
    id: Text
    """Equal for equal requests."""
    deployment: Text | None = None
    """Whose predictions were audited; absent where a person asks."""
    report_id: Text | None = None
    """The audit report that decided; absent where a person asks."""
    reason: RetrainReason
    trigger: RequestTrigger
    alerts: tuple[str, ...] = ()
    """Ids of the alerts that were raised."""
    data: RequestData
    blockers_checked: tuple[str, ...] = ()
    """Checks that the request has passed."""
    not_before: AwareDatetime
    """When it was made, in event time."""
    expires: AwareDatetime
    """A request that is not taken up by then is void, in event time."""


class Accepted(_LoopRecord):
    """The trainer takes a request up, and fixes what it learns from: a restart uses exactly the same records."""

    type: Literal["retrain.accepted.v1"] = "retrain.accepted.v1"
    at: AwareDatetime
    features: tuple[OffsetRange, ...]
    labels: tuple[OffsetRange, ...]
    predictions: tuple[OffsetRange, ...] = ()
    """Where it is read what was fetched from the online store for the features' records; none where nothing was."""
    seed: int

    @property
    def ranges(self) -> tuple[OffsetRange, ...]:
        """All that it learns from."""
        return (*self.features, *self.labels, *self.predictions)


class Blocker(StrEnum):
    """The check that kept a request from being taken up."""

    NO_CHAMPION = "no_champion"
    """The model has no champion to compare with."""
    NOT_CHAMPION = "not_champion"
    """The request is about a version that is not the champion any more."""
    OPEN_REQUEST = "open_request"
    """Another request of the model was at work when this one came."""
    EXPIRED = "expired"
    """By event time, the request is void."""
    COOLDOWN = "cooldown"
    """The last request was taken up too short a time ago."""
    DAILY_LIMIT = "daily_limit"
    """As many requests as are allowed were taken up within a day."""


class Rejected(_LoopRecord):
    """The trainer does not take a request up."""

    type: Literal["retrain.rejected.v1"] = "retrain.rejected.v1"
    at: AwareDatetime
    blocker: Blocker
    why: Text


class Dataset(BaseModel):
    """What a candidate was made from, and measured on."""

    model_config = STRICT

    fingerprint: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    """Digest of the ranges and of every value that was read from them."""
    rows: Count
    """Rows with a label."""
    train: Count
    """Rows that the candidate learned from."""
    holdout: Count
    """Later rows that it has not seen."""
    unlabelled: Count
    """Rows without a label."""
    invalid: Count
    """Records of both topics that cannot be read."""


class Interval(BaseModel):
    """A measured value, and its 95 % interval."""

    model_config = STRICT

    value: float
    lower: float
    upper: float


class Evaluation(BaseModel):
    """Champion and candidate on the same held-out records."""

    model_config = STRICT

    metric: Literal["accuracy", "mae"]
    test: PairedTest
    rows: Count
    champion: Interval
    candidate: Interval
    gain: Interval
    """By how much the candidate is better."""
    p_value: float


class Completed(_LoopRecord):
    """There is a candidate, and it was measured. What becomes of it is decided and not yet done."""

    type: Literal["retrain.completed.v1"] = "retrain.completed.v1"
    at: AwareDatetime
    dataset: Dataset
    evaluation: Evaluation
    verdict: Verdict
    why: Text
    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    """Of the candidate's bundle."""
    candidate: VersionNumber | None = None
    """The candidate's version; absent where it is refused, because then it is not kept."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if (self.candidate is None) != (self.verdict is Verdict.REFUSE):
            raise ValueError("a candidate has a version unless it is refused")
        return self


class Promoted(_LoopRecord):
    """The candidate is the champion."""

    type: Literal["retrain.promoted.v1"] = "retrain.promoted.v1"
    at: AwareDatetime
    candidate: VersionNumber
    why: Text


class Proposed(_LoopRecord):
    """The candidate is the challenger, and a person decides: `millrace model promote`."""

    type: Literal["retrain.proposed.v1"] = "retrain.proposed.v1"
    at: AwareDatetime
    candidate: VersionNumber
    why: Text


class Refused(_LoopRecord):
    """The candidate was not good enough."""

    type: Literal["retrain.refused.v1"] = "retrain.refused.v1"
    at: AwareDatetime
    why: Text


class Failed(_LoopRecord):
    """No candidate came of it."""

    type: Literal["retrain.failed.v1"] = "retrain.failed.v1"
    at: AwareDatetime
    why: Text
    log: tuple[str, ...] = ()
    """The last lines that the training function wrote."""


class Noted(_LoopRecord):
    """The auditor of a deployment has heard how a loop ended.

    Answers come by the clock and decisions are made in event time. This record fixes where the answer lies between the
    windows, so that whoever judges them again decides the same.
    """

    type: Literal["retrain.noted.v1"] = "retrain.noted.v1"
    deployment: Text
    """Whose auditor it was."""
    event_time: AwareDatetime
    """Windows that were due by then were decided without the answer, all later ones with it."""
    why: Text


LoopAnswer: TypeAlias = Accepted | Rejected | Completed | Promoted | Proposed | Refused | Failed | Noted
"""What follows a request: the trainer's answers, and the auditor's note of their end."""

ENDS: Final = (Rejected, Promoted, Proposed, Refused, Failed)
"""The answers that no other answer follows."""

LoopRecord: TypeAlias = Annotated[Requested | LoopAnswer, Field(discriminator="type")]
"""Any record of the topic."""

ADAPTER: Final[TypeAdapter[Requested | LoopAnswer]] = TypeAdapter(LoopRecord)
"""Reads any record of the topic; its JSON Schema is the topic's."""


def read_loop_record(value: bytes | None, *, subject: str) -> Requested | LoopAnswer:
    """Read a record.

    Args:
        value: The record's value.
        subject: Where it came from, for errors.

    Raises:
        RequestError: It is no record of a loop; names the subject and the place.
    """
    if value is None:
        raise RequestError(f"{subject} has no value", remedy="the topic is not compacted: look who else writes there")
    try:
        return ADAPTER.validate_json(value)
    except ValidationError as error:
        raise refusal(error, subject=subject, remedy="schemas/retrain-requests says what may stand there") from None


def write_loop_record(record: Requested | LoopAnswer) -> bytes:
    """The value of a record's topic; `read_loop_record` reads it back."""
    return record.model_dump_json(by_alias=True, exclude_none=True).encode()
