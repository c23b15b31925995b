"""Which deployment is meant, and what its document says."""

from difflib import get_close_matches
from pathlib import Path
from typing import Final

from millrace.client.predictions import SUFFIX
from millrace.core.errors import RequestError
from millrace.core.records import Coordinates
from millrace.kafka.admin import Admin
from millrace.kafka.control import ControlView
from millrace.kafka.control_writer import DEPLOYMENTS_TOPIC
from millrace.process.deployment import Deployment, find_deployment
from millrace.process.settings import KafkaSettings

_UNKNOWN_MODEL: Final = "unknown"


def the_deployment(kafka: KafkaSettings, named: str | Path | None, source: Coordinates) -> Deployment:
    """The deployment whose outcome of a record is wanted.

    Args:
        kafka: The cluster.
        named: Its name, or its document's file, or None to guess it from the topics that there are.
        source: The record.

    Raises:
        RequestError: It cannot be guessed, or its document is not valid.
    """
    if isinstance(named, Path):
        return Deployment.load(named)
    topics = Admin(kafka).topic_names()
    name = named or guess_deployment(topics, source)
    if DEPLOYMENTS_TOPIC in topics:
        with ControlView(kafka, DEPLOYMENTS_TOPIC) as view:
            table = view.refresh()
        if name in table:
            return find_deployment(table, name)
    # No document: what it would say by default, which is right for JSON.
    return Deployment.parse(
        {"deployment": name, "source": {"topic": source.topic}, "model": _UNKNOWN_MODEL}, subject=f"deployment {name}"
    )


def guess_deployment(topics: frozenset[str], source: Coordinates) -> str:
    """The only deployment that has predictions, or the one that is named like the record's stream.

    Raises:
        RequestError: There is none, or more than one.
    """
    names = sorted(topic.removesuffix(SUFFIX) for topic in topics if topic.endswith(SUFFIX))
    stream = source.topic.removesuffix(".features")
    if len(names) == 1:
        return names[0]
    if stream in names:
        return stream
    if not names:
        raise RequestError("no deployment has written predictions here", remedy="start a scorer, or check the broker")
    alike = get_close_matches(stream, names, n=1) or names[:1]
    raise RequestError(
        f"several deployments have predictions: {', '.join(names)}",
        remedy=f"say which one: --deployment {alike[0]}",
    )
