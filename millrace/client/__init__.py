"""What users import: send, subscribe, label, explain, replay, and the models and the local broker behind it."""

from millrace.client.audits import Audit, AuditAlert
from millrace.client.client import Client
from millrace.client.control import ControlClient
from millrace.client.copying.ports import CopyOptions
from millrace.client.copying.running import Copied
from millrace.client.dead_letters import DeadLetter, Replayed, ReplayFrom, ReplayOptions
from millrace.client.doctor import Check, State, examine
from millrace.client.encoding import ArrowEncoder, AvroEncoder, Encoder, JsonEncoder
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
