"""The deployment document: which topic, which model, which promise. One module per section."""

from millrace.process.deployment.audit import Audit
from millrace.process.deployment.autoscale import AutoScale
from millrace.process.deployment.document import Deployment, find_deployment
from millrace.process.deployment.execution import Group, GroupProtocol, Limits, Precision, Provider, Runtime
from millrace.process.deployment.names import Count, Milliseconds, ModelReference, Name, Topic
from millrace.process.deployment.online import LogMode, Online
from millrace.process.deployment.pace import Batch, Overload, Slo
from millrace.process.deployment.rollout import Follow, Rollout
from millrace.process.deployment.scale import Scale
from millrace.process.deployment.streams import Enrichment, PredictionFormat, RecordFormat, Sink, Source, Start

__all__ = [
    "Audit",
    "AutoScale",
    "Batch",
    "Count",
    "Deployment",
    "Enrichment",
    "Follow",
    "Group",
    "GroupProtocol",
    "Limits",
    "LogMode",
    "Milliseconds",
    "ModelReference",
    "Name",
    "Online",
    "Overload",
    "Precision",
    "PredictionFormat",
    "Provider",
    "RecordFormat",
    "Rollout",
    "Runtime",
    "Scale",
    "Sink",
    "Slo",
    "Source",
    "Start",
    "Topic",
    "find_deployment",
]
