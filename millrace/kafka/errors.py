"""What the Kafka client's errors mean to a caller, decided in one place."""

# The client's own error codes are public and begin with an underscore.
# ruff: noqa: SLF001

from typing import Final

from confluent_kafka import KafkaError, KafkaException

from millrace.core.errors import FatalError, MillraceError, RequestError, TransientError

_AWAY: Final = frozenset({KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE})
_SLOW: Final = frozenset(
    {KafkaError._TIMED_OUT, KafkaError._TIMED_OUT_QUEUE, KafkaError._MSG_TIMED_OUT, KafkaError.REQUEST_TIMED_OUT}
)
_CREDENTIALS: Final = frozenset({KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED})
_RIGHTS: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)
_HANDSHAKE: Final = frozenset(
    {
        KafkaError._SSL,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError.ILLEGAL_SASL_STATE,
        KafkaError.SECURITY_DISABLED,
    }
)
_ABSENT: Final = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION})
_MOVING: Final = frozenset(
    {
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.PREFERRED_LEADER_NOT_AVAILABLE,
        KafkaError.NOT_ENOUGH_REPLICAS,
        KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.NOT_CONTROLLER,
        KafkaError.KAFKA_STORAGE_ERROR,
        KafkaError.NETWORK_EXCEPTION,
        # The client gave up a broker that the cluster does not name any more, and what it had asked that one.
        KafkaError._DESTROY_BROKER,
    }
)
"""The cluster is between two states: a new topic's leader is not elected yet, a broker is going or coming."""
_REFUSED: Final = frozenset(
    {
        KafkaError.TOPIC_ALREADY_EXISTS,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError.INVALID_PARTITIONS,
        KafkaError.INVALID_REPLICATION_FACTOR,
        KafkaError.INVALID_CONFIG,
        KafkaError.INVALID_REQUEST,
        KafkaError.POLICY_VIOLATION,
        KafkaError.NON_EMPTY_GROUP,
        KafkaError.GROUP_ID_NOT_FOUND,
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError._INVALID_ARG,
    }
)


def code_of(error: KafkaException | KafkaError) -> int:
    """The client's error code: negative for the client's own errors, positive for the broker's."""
    return inner_error(error).code()


def from_kafka(error: KafkaException | KafkaError, doing: str) -> MillraceError:
    """The error of ours that says what the caller must do.

    Args:
        error: What the client raised or reported.
        doing: What was being done and to what, as a phrase: `"describing topic 'weather.features'"`.

    Returns:
        TransientError where the broker is away or slow, FatalError where it refuses us, RequestError where what was
        asked for is not there or not possible. To be raised `from error`.
    """
    kafka = inner_error(error)
    said = kafka.str() or kafka.name()
    code = KafkaError._SSL if _TLS_ALERT in said else kafka.code()
    for codes, kind, meaning, remedy in _MEANINGS:
        if code in codes:
            return kind(f"{doing}: {meaning}: {said}", remedy=remedy)
    if kafka.retriable():
        return TransientError(f"{doing}: {said}", remedy="try again")
    return FatalError(f"{doing}: {said} ({kafka.name()})")


_TLS_ALERT: Final = "ssl/tls alert"
"""What the client says when a broker hangs up on its certificate; to the client it is a connection that broke."""

_MEANINGS: Final[tuple[tuple[frozenset[int], type[MillraceError], str, str], ...]] = (
    (
        _CREDENTIALS,
        FatalError,
        "the broker refused the credentials",
        "check MILLRACE_KAFKA__SASL_MECHANISM, __SASL_USERNAME and __SASL_PASSWORD, or the settings of __OAUTH",
    ),
    (
        _RIGHTS,
        FatalError,
        "not allowed",
        "ask for an ACL that allows it to this user: `millrace acls DEPLOYMENT` prints what each service needs",
    ),
    (
        _HANDSHAKE,
        FatalError,
        "no secure connection",
        "check MILLRACE_KAFKA__SECURITY_PROTOCOL, __SASL_MECHANISM and __SSL_CA, and, where the broker asks for "
        "certificates, __SSL_CERTIFICATE and __SSL_KEY",
    ),
    (_ABSENT, RequestError, "there is no such topic", "create it, or check the spelling"),
    (_REFUSED, RequestError, "the broker will not do that", "ask for something that it allows"),
    (
        _AWAY,
        TransientError,
        "the broker cannot be reached",
        "check that it runs, that MILLRACE_KAFKA__BOOTSTRAP names it and __SECURITY_PROTOCOL is the listener's",
    ),
    (_MOVING, TransientError, "the cluster is not ready for that yet", "try again in a moment"),
    (_SLOW, TransientError, "no answer in time", "check that the broker runs and is not overloaded"),
)


def inner_error(error: KafkaException | KafkaError) -> KafkaError:
    """The error that an exception of the client carries."""
    if isinstance(error, KafkaError):
        return error
    inner = error.args[0]
    if not isinstance(inner, KafkaError):
        raise TypeError(f"a KafkaException holds a KafkaError, not {inner!r}")
    return inner
