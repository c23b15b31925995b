"""Pure logic: records, columns, batching, statistics, errors. No clock, no randomness, no client.

The names below are the vocabulary that users of the library meet; everything else is imported from its module.
"""

from millrace.core.errors import (
    FatalError,
    InvalidRecordError,
    MillraceError,
    Reason,
    RequestError,
    TransientError,
)
from millrace.core.lane import Delivery
from millrace.core.records import Coordinates, TopicPartition
from millrace.core.signature import DType, ExtraFields, Feature, ModelInput, NotFinite, Signature, Task

__all__ = [
    "Coordinates",
    "DType",
    "Delivery",
    "ExtraFields",
    "FatalError",
    "Feature",
    "InvalidRecordError",
    "MillraceError",
    "ModelInput",
    "NotFinite",
    "Reason",
    "RequestError",
    "Signature",
    "Task",
    "TopicPartition",
    "TransientError",
]
