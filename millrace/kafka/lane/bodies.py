"""The two bodies of a lane: what reads and writes for it. Its rules (`group`) are the same over both."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from millrace.core.errors import RequestError
from millrace.kafka.lane.at_least_once import AtLeastOnceWriter
from millrace.kafka.lane.native import NativeAtLeastOnceWriter, NativeReader, NativeTransactionalWriter, native_library
from millrace.kafka.lane.ports import Reader, Writer
from millrace.kafka.lane.reader import KafkaReader
from millrace.kafka.lane.spec import LaneSpec
from millrace.kafka.lane.transactional import TransactionalWriter
from millrace.process.settings import KafkaSettings, LaneBody


@dataclass(frozen=True, slots=True)
class Body:
    """What makes a lane's reader and writers."""

    name: LaneBody
    reader: Callable[[KafkaSettings, LaneSpec], Reader]
    transactional: Callable[[KafkaSettings, LaneSpec, str], Writer]
    at_least_once: Callable[[KafkaSettings, LaneSpec], Writer]


PYTHON: Final = Body(LaneBody.PYTHON, KafkaReader, TransactionalWriter, AtLeastOnceWriter)
NATIVE: Final = Body(LaneBody.NATIVE, NativeReader, NativeTransactionalWriter, NativeAtLeastOnceWriter)


def body_of(wanted: LaneBody) -> Body:
    """The body that a lane gets.

    Raises:
        RequestError: The native body is asked for and not built here.
        FatalError: It is built and cannot be loaded.
    """
    if wanted is LaneBody.PYTHON:
        return PYTHON
    if native_library() is not None:
        return NATIVE
    if wanted is LaneBody.AUTO:
        return PYTHON
    raise RequestError(
        "the native lane is not built in this environment",
        remedy="build it with `make native`, which needs cargo, or set MILLRACE_LANE=auto",
    )
