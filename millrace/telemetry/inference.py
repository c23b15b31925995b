"""The metrics of inference at a gateway."""

from enum import StrEnum
from typing import Final

from millrace.telemetry.metrics import Kind, Label, MetricSpec, Unit


class DoorName(StrEnum):
    """The doors of inference."""

    REST = "rest"
    GRPC = "grpc"


class Stage(StrEnum):
    """The parts of a micro-batch's time."""

    WAIT = "wait"
    """Of its oldest request, until the model was free or the policy sent it."""
    INFER = "infer"


_DEPLOYMENT: Final = Label("deployment")
_DURATIONS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_LATENCIES: Final = (
    *(0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1),
    *(0.15, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30),
)
"""Finer than of stages: a quantile is interpolated between two bounds, and goals are set on this one."""
_SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16_384)

ANSWERED: Final = MetricSpec(
    "gateway",
    "answered",
    Unit.REQUESTS,
    Kind.COUNTER,
    "Requests of every path and call that ended, by status: of HTTP, or the name that gRPC has for it.",
    (Label("door", tuple(DoorName)), Label("status")),
)
BATCH_ROWS: Final = MetricSpec(
    "gateway",
    "batch",
    Unit.RECORDS,
    Kind.HISTOGRAM,
    "Rows of a micro-batch.",
    (_DEPLOYMENT,),
    _SIZES,
)
BATCH_REQUESTS: Final = MetricSpec(
    "gateway",
    "batched",
    Unit.REQUESTS,
    Kind.COUNTER,
    "Requests that were part of a micro-batch.",
    (_DEPLOYMENT,),
)
STAGE_DURATION: Final = MetricSpec(
    "gateway",
    "stage_duration",
    Unit.SECONDS,
    Kind.HISTOGRAM,
    "Time of a micro-batch by stage.",
    (_DEPLOYMENT, Label("stage", tuple(Stage))),
    _DURATIONS,
)
REQUEST_DURATION: Final = MetricSpec(
    "gateway",
    "request_duration",
    Unit.SECONDS,
    Kind.HISTOGRAM,
    "Time of a request that was answered, from when it was read until its answer is there.",
    (_DEPLOYMENT,),
    _LATENCIES,
)
LATE: Final = MetricSpec(
    "gateway",
    "late",
    Unit.REQUESTS,
    Kind.COUNTER,
    "Requests whose deadline passed before the model was free.",
    (_DEPLOYMENT,),
)
LOGGED: Final = MetricSpec(
    "gateway",
    "logged",
    Unit.RECORDS,
    Kind.COUNTER,
    "Rows whose request and prediction are acknowledged by the broker.",
)
UNLOGGED: Final = MetricSpec(
    "gateway",
    "unlogged",
    Unit.RECORDS,
    Kind.COUNTER,
    "Rows whose request or prediction could not be written; where the log is best effort, they were answered.",
)
PAIRED: Final = MetricSpec(
    "gateway",
    "paired",
    Unit.RECORDS,
    Kind.COUNTER,
    "Rows that champion and challenger both scored, one of them answering.",
    (_DEPLOYMENT,),
)
CHALLENGER_MISSED: Final = MetricSpec(
    "gateway",
    "challenger_missed",
    Unit.RECORDS,
    Kind.COUNTER,
    "Rows that the challenger was to score and did not: it refused some of the micro-batch, failed, or rests.",
    (_DEPLOYMENT,),
)

INFERENCE: Final = (
    ANSWERED,
    BATCH_ROWS,
    BATCH_REQUESTS,
    STAGE_DURATION,
    REQUEST_DURATION,
    LATE,
    LOGGED,
    UNLOGGED,
    PAIRED,
    CHALLENGER_MISSED,
)
"""Every metric of inference."""
