"""A broker in a container, for a test run against the image that clusters run."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from millrace.core.errors import RequestError, TransientError
from millrace.kafka.free_ports import choose_ports
from millrace.kafka.jars import KAFKA_VERSION
from millrace.kafka.probe import answers
from millrace.kafka.server import HOST, Ports, server_properties
from millrace.testing.broker import BorrowedBroker
from millrace.testing.waiting import eventually

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

IMAGE: Final = f"apache/kafka:{KAFKA_VERSION}"
_DATA: Final = Path("/var/lib/kafka/data")
_INSIDE: Final = Ports(client=9092, internal=9094, controller=9093)
_START_WITHIN: Final = timedelta(seconds=120)
_ONE_TRY: Final = timedelta(seconds=10)
_LOG_CHARACTERS: Final = 2_000


def broker_environment(port: int) -> dict[str, str]:
    """The local broker's own settings as the image takes them, for clients that connect to `port` of this machine."""
    listeners = {"CLIENT": _INSIDE.client, "INTERNAL": _INSIDE.internal, "CONTROLLER": _INSIDE.controller}
    inside = {
        "listeners": ",".join(f"{name}://:{number}" for name, number in listeners.items()),
        "advertised.listeners": f"CLIENT://{HOST}:{port},INTERNAL://localhost:{_INSIDE.internal}",
        "controller.quorum.voters": f"1@localhost:{_INSIDE.controller}",
    }
    properties = server_properties(_DATA, _INSIDE, inside)
    return {f"KAFKA_{name.replace('.', '_').upper()}": value for name, value in properties.items()}


@contextmanager
def container_broker() -> Iterator[BorrowedBroker]:
    """Run a broker in a container until the block ends.

    The container goes with the test run, however that ends: testcontainers' own watcher sees to it, unless
    TESTCONTAINERS_RYUK_DISABLED is set.

    Raises:
        RequestError: testcontainers is not installed, no engine answers, or the engine has no such image.
        TransientError: The broker does not answer; the error has the end of its log.
    """
    port = choose_ports(seed=0).client
    with _running(broker_environment(port), port) as container:
        try:
            eventually(lambda: answers(HOST, port, patience=_ONE_TRY), within=_START_WITHIN)
        except AssertionError as error:
            said = b"".join(container.get_logs()).decode("utf-8", "replace")[-_LOG_CHARACTERS:]
            raise TransientError(
                f"the broker in a container of {IMAGE} does not answer; it said: {said}",
                remedy="try again, or run the tests with --broker local",
            ) from error
        yield BorrowedBroker(f"{HOST}:{port}")


@contextmanager
def _running(environment: Mapping[str, str], port: int) -> Iterator["DockerContainer"]:
    try:
        from docker.errors import DockerException  # noqa: PLC0415 -- comes with the extra `containers`
        from testcontainers.core.container import DockerContainer  # noqa: PLC0415
    except ImportError:
        raise RequestError(
            "a broker in a container needs testcontainers, which is not installed",
            remedy="pip install 'millrace[containers]', or run the tests with --broker local",
        ) from None
    try:
        # The engine is asked when the container is described, and when it is started.
        container = DockerContainer(IMAGE).with_envs(**environment).with_bind_ports(_INSIDE.client, port).start()
    except DockerException as error:
        raise RequestError(
            f"no broker could be started in a container of {IMAGE}: {error}",
            remedy="start Docker and let it pull that image, or run the tests with --broker local",
        ) from error
    try:
        yield container
    finally:
        container.stop()
