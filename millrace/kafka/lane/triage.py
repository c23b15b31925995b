"""What to do about an error of the client, decided by the error and by the step that met it.

The decision is a table, so that it can be read and tested without a broker. Facts it stands on: the client's own flags
(`fatal`, `txn_requires_abort`, `retriable`) say what the *client* can still do, and are asked in this order; anything
that carries no flag is treated as fatal for the producer, never for the process.
"""

# The client's own error codes are public and begin with an underscore.
# ruff: noqa: SLF001

from enum import Enum
from typing import Final

from confluent_kafka import KafkaError, KafkaException

from millrace.core.errors import FatalError, MillraceError
from millrace.kafka.errors import from_kafka


class Step(Enum):
    """The steps of a transaction at which the client can fail."""

    INIT = "init"
    """Registering the transactional id, which fences whoever held it and settles what he left."""
    BEGIN = "begin"
    SEND = "send"
    FLUSH = "flush"
    SEND_OFFSETS = "send_offsets"
    COMMIT = "commit"
    ABORT = "abort"


class Recovery(Enum):
    """What brings a lane back to a state in which it can go on."""

    RETRY = "retry"
    """The same call again, within the step's deadline."""
    ABORT = "abort"
    """Abort the transaction, go back to the committed offsets, begin again."""
    REBUILD = "rebuild"
    """Nothing more comes from this producer: drop it and make a new one with the same id, then go back."""
    FATAL = "fatal"
    """No producer of this process will get further."""


class StepError(Exception):
    """A step failed for good. Never leaves this room: lanes turn it into an outcome or into its cause.

    Args:
        recovery: ABORT, REBUILD or FATAL; retries are over.
        cause: The error as the rest of the house understands it.
    """

    def __init__(self, recovery: Recovery, cause: MillraceError) -> None:
        super().__init__(f"{recovery.value}: {cause}")
        self.recovery = recovery
        self.cause = cause


REFUSALS: Final = frozenset(
    {
        KafkaError._AUTHENTICATION,
        KafkaError._SSL,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.INVALID_TRANSACTION_TIMEOUT,
        KafkaError.UNSUPPORTED_VERSION,
        KafkaError._UNSUPPORTED_FEATURE,
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError.POLICY_VIOLATION,
    }
)
"""The broker says no, and will say no to a new producer with the same records as well."""

TOO_LARGE: Final = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})

HOPELESS_TO_ABORT: Final = frozenset({Step.INIT, Step.BEGIN, Step.ABORT})
"""Steps at which there is no transaction to abort, or at which aborting is what failed."""


def triage(error: KafkaError, step: Step) -> Recovery:
    """What to do about `error`, met at `step`.

    A timeout of commit or abort is retriable to the client, which goes on with the same call; when the caller's
    deadline is over the outcome is unknown and the caller rebuilds.
    """
    if error.code() in REFUSALS:
        return Recovery.FATAL
    if error.fatal():
        return Recovery.REBUILD
    if error.txn_requires_abort():
        return Recovery.REBUILD if step in HOPELESS_TO_ABORT else Recovery.ABORT
    if error.retriable():
        # A part of the outputs is queued already: sending them again would double it.
        return Recovery.ABORT if step is Step.SEND else Recovery.RETRY
    return Recovery.REBUILD


def when_out_of_time(step: Step) -> Recovery:
    """What to do when retries of `step` have used up its time.

    Before the commit the transaction is certainly open, so aborting it is enough; from then on nobody here knows.
    """
    return Recovery.ABORT if step in {Step.SEND, Step.FLUSH, Step.SEND_OFFSETS} else Recovery.REBUILD


def explain(error: KafkaError, doing: str) -> MillraceError:
    """What a producer's error means, said to whoever runs the worker."""
    if error.code() in TOO_LARGE:
        return FatalError(
            f"{doing}: an output is larger than its topic takes: {error.str()}",
            remedy="raise max.message.bytes of the topic that it names, or make the deployment's outputs smaller",
        )
    return from_kafka(error, doing)


def is_final(error: KafkaError) -> bool:
    """Whether a consumer that reports this will report nothing else from now on."""
    return error.fatal() or error.code() == KafkaError._FATAL or error.code() in REFUSALS


def as_fatal(error: MillraceError) -> FatalError:
    """The same error, for a caller who cannot do anything else about it."""
    return error if isinstance(error, FatalError) else FatalError(error.message, remedy=error.remedy)


def kafka_error(error: KafkaException | SystemError) -> KafkaError:
    """The client's error inside an exception.

    A fatal error that surfaces while a delivery callback is pending arrives as a SystemError with the KafkaException as
    its cause.

    Raises:
        SystemError: It was about something else.
    """
    exception = error if isinstance(error, KafkaException) else error.__cause__
    if isinstance(exception, KafkaException) and isinstance(exception.args[0], KafkaError):
        return exception.args[0]
    raise error
