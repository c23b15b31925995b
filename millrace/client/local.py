"""The local broker, and how commands know which broker is meant."""

from pathlib import Path

from millrace.core.errors import RequestError
from millrace.kafka import finding
from millrace.kafka.broker import BrokerStatus, LocalBroker
from millrace.kafka.jars import OnProgress, Progress, Stage, silent
from millrace.process.settings import KafkaSettings, Settings

__all__ = [
    "BrokerStatus",
    "OnProgress",
    "Progress",
    "Stage",
    "broker_status",
    "find_kafka",
    "start_broker",
    "stop_broker",
]


def start_broker(
    home: Path | None = None, *, port: int | None = None, on_progress: OnProgress = silent
) -> BrokerStatus:
    """Start the local broker unless it runs, and return when it answers.

    The first start of all fetches the broker's parts, which takes about a minute.

    Raises:
        RequestError: The port is taken, or the folder cannot be used.
        TransientError: The parts cannot be fetched, or the broker does not answer.
        FatalError: There is no Java, or the broker died.
    """
    return _local(home, port).start(on_progress=on_progress)


def stop_broker(home: Path | None = None) -> BrokerStatus:
    """Stop the local broker if it runs; its data stays. Returns what was stopped."""
    broker = _local(home)
    status = broker.status()
    broker.stop()
    return status


def broker_status(home: Path | None = None) -> BrokerStatus:
    """Whether the local broker runs, and where. Does not wait."""
    return _local(home).status()


def find_kafka(bootstrap: str | None = None) -> KafkaSettings:
    """How to reach the broker that is meant: the one named, else the environment's, else the local one.

    Args:
        bootstrap: Broker addresses, which take the place of the environment's; its credentials stay.

    Raises:
        RequestError: None is named and none runs here, or the environment is not valid.
    """
    settings = Settings.load()
    if bootstrap is not None:
        known = settings.kafka.model_dump(exclude={"bootstrap"}) if settings.kafka else {}
        return _checked(bootstrap, known)
    return finding.find_kafka(settings)


def _checked(bootstrap: str, known: dict[str, object]) -> KafkaSettings:
    try:
        return KafkaSettings.model_validate({**known, "bootstrap": bootstrap})
    except ValueError:
        raise RequestError(
            f"{bootstrap!r} names no broker", remedy="write HOST:PORT, for example localhost:9092"
        ) from None


def _local(home: Path | None, port: int | None = None) -> LocalBroker:
    return LocalBroker(home or Settings.load().home, port=port)
