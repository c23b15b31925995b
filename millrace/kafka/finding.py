"""Which Kafka is meant, where nobody says so."""

from millrace.core.errors import RequestError
from millrace.kafka.broker import LocalBroker
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
