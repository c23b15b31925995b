"""What users import: send, subscribe, label, explain, replay, and the models and the local broker behind it."""

from millrace.client.client import Client
from millrace.client.dead_letters import DeadLetter, Replayed, ReplayFrom, ReplayOptions
from millrace.client.encoding import ArrowEncoder, AvroEncoder, Encoder, JsonEncoder
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
from millrace.client.predictions import Prediction
from millrace.client.sending import SendOptions, Sent
from millrace.client.sources import FileFormat
from millrace.client.starts import parse_start
from millrace.kafka.reading import Position, Start, Until
from millrace.process.settings import KafkaSettings

__all__ = [
    "ArrowEncoder",
    "AvroEncoder",
    "BrokerStatus",
    "Client",
    "DeadLetter",
    "Encoder",
    "FileFormat",
    "JsonEncoder",
    "KafkaSettings",
    "Label",
    "LabelOperation",
    "Position",
    "Prediction",
    "Progress",
    "ReplayFrom",
    "ReplayOptions",
    "Replayed",
    "SendOptions",
    "Sent",
    "Stage",
    "Start",
    "Until",
    "broker_status",
    "find_kafka",
    "parse_start",
    "start_broker",
    "stop_broker",
]
