"""The broker that all tests of a run share: whichever the option `--broker` names."""

from collections.abc import Iterator
from contextlib import contextmanager

from millrace.core.errors import RequestError
from millrace.testing.broker import BorrowedBroker, Broker, temporary_broker
from millrace.testing.container import container_broker


@contextmanager
def shared_broker(which: str) -> Iterator[Broker]:
    """The broker that a test run's option `--broker` names, until the block ends.

    Args:
        which: `local`, `container`, or the address of one that runs.

    Raises:
        RequestError: It is none of these, or there can be no container here.
    """
    match which:
        case "local":
            with temporary_broker() as running:
                yield running
        case "container":
            with container_broker() as running_inside:
                yield running_inside
        case bootstrap if ":" in bootstrap:
            yield BorrowedBroker(bootstrap)
        case _:
            raise RequestError(f"--broker {which} is no broker", remedy="say local, container, or HOST:PORT")
