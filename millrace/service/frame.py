"""Settings, logs, the cluster, signals and an exit code around a service's work; health and metrics beside it."""

import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from millrace import __version__
from millrace.core.clock import Clock
from millrace.core.errors import MillraceError
from millrace.kafka.finding import find_kafka
from millrace.process.clock import SystemClock
from millrace.process.health import Health, HealthServer
from millrace.process.lifecycle import ExitCode, Shutdown, run
from millrace.process.settings import KafkaSettings, LaunchSettings, Settings
from millrace.telemetry import logs
from millrace.telemetry.metrics import Instruments, MetricSpec, build_info

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a service finds when its work begins.

    Attributes:
        settings: Of this process.
        kafka: The cluster that is meant.
        clock: The system's.
        shutdown: Requested by SIGTERM and SIGINT.
    """

    settings: Settings
    kafka: KafkaSettings
    clock: SystemClock
    shutdown: Shutdown


@dataclass(frozen=True, slots=True)
class Watched:
    """Where a service says how it is.

    Attributes:
        health: Read by `/livez` and `/readyz`.
        instruments: Read by `/metrics`.
        url: Where these are served.
    """

    health: Health
    instruments: Instruments
    url: str


def run_service(name: str, work: Callable[[Surroundings], None], **constants: object) -> ExitCode:
    """Run a service from settings to exit code. Its `main()` returns this to the shell.

    Args:
        name: Of the service; in every line of its log.
        work: Returns when it is done or when the shutdown was obeyed. What it raises, and settings that are wrong, are
            logged with their remedy and become the exit code.
        constants: More that every line of the log says: a slot. What a launcher says of it counts more.
    """
    clock = SystemClock()
    shutdown = Shutdown(clock=clock)
    said: dict[str, object] = {"service": name, **constants}
    logs.configure(environ=os.environ, constants=said)  # an error in the settings is logged, too

    def work_within() -> None:
        settings = Settings.load()
        constants = {**said, **_place(settings.launch)}
        logs.configure(level=settings.log.level, format=settings.log.format, environ=os.environ, constants=constants)
        work(Surroundings(settings, find_kafka(settings), clock, shutdown))

    return run(work_within, shutdown=shutdown, report=_report)


@contextmanager
def watched(
    service: str, metrics: Sequence[MetricSpec], settings: Settings, *, clock: Clock, constants: Mapping[str, str]
) -> Iterator[Watched]:
    """Serve health and metrics while inside.

    Args:
        service: Its name.
        metrics: Every metric of the service, `build_info` of its name among them.
        settings: Say where to listen.
        clock: Measures the silence of a loop that is stuck.
        constants: Labels of every metric: the deployment, the model.

    Raises:
        RequestError: The address is in use, or not this machine's.
    """
    health, instruments = Health(clock=clock), Instruments(metrics, constants=constants)
    instruments.replace(build_info(service), 1, version=__version__, python=platform.python_version())
    where = settings.health
    with HealthServer(health, instruments.exposition, host=where.host, port=where.port) as server:
        yield Watched(health, instruments, server.url)


def _place(launch: LaunchSettings | None) -> dict[str, object]:
    """What every line of the log of a launched process says, in the words of the labels of its metrics."""
    if launch is None:
        return {}
    return {"node": launch.node, "slot": launch.slot, "deployment": launch.slot.partition("/")[0]}


def _report(error: MillraceError) -> None:
    _log.error(error.message, remedy=error.remedy or None)
