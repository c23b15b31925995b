"""What is meant: which Kafka where nobody says so, and which deployment by its name."""

from millrace.core.errors import RequestError
from millrace.kafka.broker import LocalBroker
from millrace.kafka.control import ControlView
from millrace.kafka.control_writer import DEPLOYMENTS_TOPIC
from millrace.process.deployment import Deployment, find_deployment
from millrace.process.settings import KafkaSettings, Settings


def find_kafka(settings: Settings) -> KafkaSettings:
    """The cluster that the environment names, else the local broker that runs under its home.

    Raises:
        RequestError: None is named and none runs.
    """
    if settings.kafka is not None:
        return settings.kafka
    status = LocalBroker(settings.home).status()
    if status.running and status.bootstrap is not None:
        return KafkaSettings(bootstrap=status.bootstrap)
    raise RequestError(
        "no broker is named, and no local one runs",
        remedy="run `millrace up`, or name one: --bootstrap HOST:PORT or MILLRACE_KAFKA__BOOTSTRAP",
    )


def read_deployment(kafka: KafkaSettings, name: str) -> Deployment:
    """The deployment of this name, from the topic `millrace.deployments`.

    Raises:
        RequestError: There is no such topic or deployment, or its document is not valid.
        TransientError: No broker answers.
        FatalError: The broker refuses this client.
    """
    with ControlView(kafka, DEPLOYMENTS_TOPIC) as view:
        return find_deployment(view.refresh(), name)
