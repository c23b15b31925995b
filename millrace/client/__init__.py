"""What users import: send, subscribe, label, explain, replay, and the models and the local broker behind it.

A name is loaded when it is first asked for: who only asks a launcher does without the runtimes of models.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from millrace.client.audits import Audit, AuditAlert
    from millrace.client.client import Client
    from millrace.client.control import ControlClient
    from millrace.client.copying.ports import CopyOptions
    from millrace.client.copying.running import Copied
    from millrace.client.dead_letters import DeadLetter, Replayed, ReplayFrom, ReplayOptions
    from millrace.client.diagnosis import Check, State
    from millrace.client.doctor import examine
    from millrace.client.encoding import ArrowEncoder, AvroEncoder, Encoder, JsonEncoder
    from millrace.client.experiments import Experiment
    from millrace.client.explaining import Answer, Explanation, Verdict
    from millrace.client.handovers import Answering, HandoverWatch
    from millrace.client.labels import Label, LabelOperation
    from millrace.client.lineage import Deed, Lineage, ScoredBy
    from millrace.client.local import (
        BrokerStatus,
        Progress,
        Stage,
        broker_status,
        find_kafka,
        start_broker,
        stop_broker,
    )
    from millrace.client.models import ModelDetails, Models, ModelVersion
    from millrace.client.predictions import Prediction
    from millrace.client.replaying import RangeOptions, RangeReplayed
    from millrace.client.sending import SendOptions, Sent
    from millrace.client.starts import parse_start
    from millrace.client.transforms import AppliedTransform, apply_transform, fit_transform, read_program
    from millrace.codec.file_formats import FileFormat
    from millrace.kafka.connection import Link
    from millrace.kafka.reading import Position, Start, Until
    from millrace.process.retraining import LoopAnswer, Requested
    from millrace.process.settings import KafkaSettings
    from millrace.serving.catalogue import EvaluationEntry
    from millrace.serving.transforms import TransformEntry

__all__ = [
    "Answer",
    "Answering",
    "AppliedTransform",
    "ArrowEncoder",
    "Audit",
    "AuditAlert",
    "AvroEncoder",
    "BrokerStatus",
    "Check",
    "Client",
    "ControlClient",
    "Copied",
    "CopyOptions",
    "DeadLetter",
    "Deed",
    "Encoder",
    "EvaluationEntry",
    "Experiment",
    "Explanation",
    "FileFormat",
    "HandoverWatch",
    "JsonEncoder",
    "KafkaSettings",
    "Label",
    "LabelOperation",
    "Lineage",
    "Link",
    "LoopAnswer",
    "ModelDetails",
    "ModelVersion",
    "Models",
    "Position",
    "Prediction",
    "Progress",
    "RangeOptions",
    "RangeReplayed",
    "ReplayFrom",
    "ReplayOptions",
    "Replayed",
    "Requested",
    "ScoredBy",
    "SendOptions",
    "Sent",
    "Stage",
    "Start",
    "State",
    "TransformEntry",
    "Until",
    "Verdict",
    "apply_transform",
    "broker_status",
    "examine",
    "find_kafka",
    "fit_transform",
    "parse_start",
    "read_program",
    "start_broker",
    "stop_broker",
]

_HOMES: Final = {
    "Answer": "millrace.client.explaining",
    "Answering": "millrace.client.handovers",
    "AppliedTransform": "millrace.client.transforms",
    "ArrowEncoder": "millrace.client.encoding",
    "Audit": "millrace.client.audits",
    "AuditAlert": "millrace.client.audits",
    "AvroEncoder": "millrace.client.encoding",
    "BrokerStatus": "millrace.client.local",
    "Check": "millrace.client.diagnosis",
    "Client": "millrace.client.client",
    "ControlClient": "millrace.client.control",
    "Copied": "millrace.client.copying.running",
    "CopyOptions": "millrace.client.copying.ports",
    "DeadLetter": "millrace.client.dead_letters",
    "Deed": "millrace.client.lineage",
    "Encoder": "millrace.client.encoding",
    "EvaluationEntry": "millrace.serving.catalogue",
    "Experiment": "millrace.client.experiments",
    "Explanation": "millrace.client.explaining",
    "FileFormat": "millrace.codec.file_formats",
    "HandoverWatch": "millrace.client.handovers",
    "JsonEncoder": "millrace.client.encoding",
    "KafkaSettings": "millrace.process.settings",
    "Label": "millrace.client.labels",
    "LabelOperation": "millrace.client.labels",
    "Lineage": "millrace.client.lineage",
    "Link": "millrace.kafka.connection",
    "LoopAnswer": "millrace.process.retraining",
    "ModelDetails": "millrace.client.models",
    "ModelVersion": "millrace.client.models",
    "Models": "millrace.client.models",
    "Position": "millrace.kafka.reading",
    "Prediction": "millrace.client.predictions",
    "Progress": "millrace.client.local",
    "RangeOptions": "millrace.client.replaying",
    "RangeReplayed": "millrace.client.replaying",
    "ReplayFrom": "millrace.client.dead_letters",
    "ReplayOptions": "millrace.client.dead_letters",
    "Replayed": "millrace.client.dead_letters",
    "Requested": "millrace.process.retraining",
    "ScoredBy": "millrace.client.lineage",
    "SendOptions": "millrace.client.sending",
    "Sent": "millrace.client.sending",
    "Stage": "millrace.client.local",
    "Start": "millrace.kafka.reading",
    "State": "millrace.client.diagnosis",
    "TransformEntry": "millrace.serving.transforms",
    "Until": "millrace.kafka.reading",
    "Verdict": "millrace.client.explaining",
    "apply_transform": "millrace.client.transforms",
    "broker_status": "millrace.client.local",
    "examine": "millrace.client.doctor",
    "find_kafka": "millrace.client.local",
    "fit_transform": "millrace.client.transforms",
    "parse_start": "millrace.client.starts",
    "read_program": "millrace.client.transforms",
    "start_broker": "millrace.client.local",
    "stop_broker": "millrace.client.local",
}
"""The module of each name; `tests/contract/test_exported_names.py` loads them all."""


def __getattr__(name: str) -> Any:  # noqa: ANN401 -- what type checkers see stands above
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return found
