import pytest
from confluent_kafka import KafkaError, KafkaException

from millrace.core.errors import FatalError, MillraceError, RequestError, TransientError
from millrace.kafka.errors import code_of, from_kafka

DOING = "describing topic 'weather.features'"


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        (KafkaError._ALL_BROKERS_DOWN, TransientError, "cannot be reached"),
        (KafkaError._TRANSPORT, TransientError, "MILLRACE_KAFKA__BOOTSTRAP"),
        (KafkaError._TIMED_OUT, TransientError, "no answer in time"),
        (KafkaError._AUTHENTICATION, FatalError, "refused the credentials"),
        (KafkaError.SASL_AUTHENTICATION_FAILED, FatalError, "SASL_PASSWORD"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, FatalError, "not allowed"),
        (KafkaError._SSL, FatalError, "SSL_CA"),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, RequestError, "there is no such topic"),
        (KafkaError.POLICY_VIOLATION, RequestError, "the broker will not do that"),
        (KafkaError.COORDINATOR_LOAD_IN_PROGRESS, TransientError, "not ready"),
        (KafkaError._DESTROY_BROKER, TransientError, "try again"),
        (KafkaError.UNKNOWN, FatalError, DOING),
    ],
)
def test_says_what_to_do_and_what_was_being_done(code: int, kind: type[MillraceError], said: str) -> None:
    for error in (KafkaError(code), KafkaException(KafkaError(code))):
        ours = from_kafka(error, DOING)
        assert type(ours) is kind
        assert said in str(ours)
        assert DOING in ours.message


def test_a_certificate_that_the_broker_hangs_up_on_is_no_broken_network() -> None:
    said = "Receive failed: error:0A000412:SSL routines::ssl/tls alert bad certificate: SSL alert number 42"
    ours = from_kafka(KafkaError(KafkaError._TRANSPORT, said), DOING)
    assert isinstance(ours, FatalError)
    assert "SSL_CERTIFICATE" in (ours.remedy or "")


def test_what_may_be_tried_again_is_transient() -> None:
    error = KafkaError(KafkaError.UNKNOWN, "odd", False, True)  # noqa: FBT003
    assert isinstance(from_kafka(error, DOING), TransientError)


def test_the_code_of_an_exception_is_its_errors() -> None:
    assert code_of(KafkaException(KafkaError(KafkaError._TIMED_OUT))) == KafkaError._TIMED_OUT
