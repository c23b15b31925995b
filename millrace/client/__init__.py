"""What users import: send, subscribe, label, explain, replay, and the models and the local broker behind it."""

from millrace.client.audits import Audit, AuditAlert
from millrace.client.client import Client
from millrace.client.dead_letters import DeadLetter, Replayed, ReplayFrom, ReplayOptions
from millrace.client.doctor import Check, State, examine
from millrace.client.encoding import ArrowEncoder, AvroEncoder, Encoder, JsonEncoder
from millrace.client.explaining import Answer, Explanation, Verdict
from millrace.client.labels import Label, LabelOperation
from millrace.client.local import (
    BrokerStatus,
    Progress,
    Stage,
    broker_status,
    find_kafka,
    start_broker,
    stop_broker,
)
from millrace.client.models import ModelDetails, ModelVersion
from millrace.client.predictions import Prediction
from millrace.client.sending import SendOptions, Sent
from millrace.client.sources import FileFormat
from millrace.client.starts import parse_start
from millrace.kafka.connection import Link
from millrace.kafka.reading import Position, Start, Until
from millrace.process.retraining import LoopAnswer, Requested
from millrace.process.settings import KafkaSettings

__all__ = [
    "Answer",
    "ArrowEncoder",
    "Audit",
    "AuditAlert",
    "AvroEncoder",
    "BrokerStatus",
    "Check",
    "Client",
    "DeadLetter",
    "Encoder",
    "Explanation",
    "FileFormat",
    "JsonEncoder",
    "KafkaSettings",
    "Label",
    "LabelOperation",
    "Link",
    "LoopAnswer",
    "ModelDetails",
    "ModelVersion",
    "Position",
    "Prediction",
    "Progress",
    "ReplayFrom",
    "ReplayOptions",
    "Replayed",
    "Requested",
    "SendOptions",
    "Sent",
    "Stage",
    "Start",
    "State",
    "Until",
    "Verdict",
    "broker_status",
    "examine",
    "find_kafka",
    "parse_start",
    "start_broker",
    "stop_broker",
]
