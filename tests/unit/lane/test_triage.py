import pytest
from confluent_kafka import KafkaError, KafkaException

from millrace.core.errors import FatalError, TransientError
from millrace.kafka.lane.triage import (
    Recovery,
    Step,
    StepError,
    as_fatal,
    explain,
    kafka_error,
    triage,
    when_out_of_time,
)


def error(code: int, *, fatal: bool = False, retriable: bool = False, abortable: bool = False) -> KafkaError:
    return KafkaError(code, "said the broker", fatal, retriable, abortable)


ABORT, REBUILD, RETRY, FATAL = Recovery.ABORT, Recovery.REBUILD, Recovery.RETRY, Recovery.FATAL


@pytest.mark.parametrize(
    ("met", "step", "recovery"),
    [
        # a stale member's offsets: the transaction can be aborted and the producer goes on
        (error(KafkaError.UNKNOWN_MEMBER_ID, abortable=True), Step.SEND_OFFSETS, ABORT),
        (error(KafkaError.ILLEGAL_GENERATION, abortable=True), Step.SEND_OFFSETS, ABORT),
        (error(KafkaError.UNKNOWN_MEMBER_ID, abortable=True), Step.COMMIT, ABORT),
        # an output that did not arrive fails the whole transaction
        (error(KafkaError._MSG_TIMED_OUT, abortable=True), Step.FLUSH, ABORT),
        # where there is nothing to abort, or aborting is what fails
        (error(KafkaError.UNKNOWN_MEMBER_ID, abortable=True), Step.ABORT, REBUILD),
        (error(KafkaError._STATE, abortable=True), Step.BEGIN, REBUILD),
        # fenced, by another producer or by the coordinator for taking too long: `fatal` wins over `abortable`
        (error(KafkaError._FENCED, fatal=True), Step.COMMIT, REBUILD),
        (error(KafkaError._FENCED, fatal=True, abortable=True), Step.SEND_OFFSETS, REBUILD),
        (error(KafkaError.INVALID_TXN_STATE, fatal=True), Step.ABORT, REBUILD),
        # time ran out inside the client, which goes on with the same call
        (error(KafkaError._TIMED_OUT, retriable=True), Step.INIT, RETRY),
        (error(KafkaError._TIMED_OUT, retriable=True), Step.COMMIT, RETRY),
        (error(KafkaError._TRANSPORT, retriable=True), Step.SEND_OFFSETS, RETRY),
        # but outputs that are queued in part are not queued again
        (error(KafkaError._TIMED_OUT, retriable=True), Step.SEND, ABORT),
        # abortable wins over retriable: the transaction has failed already
        (error(KafkaError._TIMED_OUT, retriable=True, abortable=True), Step.COMMIT, ABORT),
        # without any flag nothing is known of the producer
        (error(KafkaError._FAIL), Step.COMMIT, REBUILD),
        # another producer would be refused as well
        (error(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, fatal=True), Step.INIT, FATAL),
        (error(KafkaError.TOPIC_AUTHORIZATION_FAILED, abortable=True), Step.FLUSH, FATAL),
        (error(KafkaError.MSG_SIZE_TOO_LARGE, abortable=True), Step.COMMIT, FATAL),
        (error(KafkaError.SASL_AUTHENTICATION_FAILED, retriable=True), Step.COMMIT, FATAL),
    ],
)
def test_table(met: KafkaError, step: Step, recovery: Recovery) -> None:
    assert triage(met, step) is recovery


@pytest.mark.parametrize("step", Step)
def test_every_step_that_runs_out_of_time_is_ended(step: Step) -> None:
    open_for_certain = step in {Step.SEND, Step.FLUSH, Step.SEND_OFFSETS}
    assert when_out_of_time(step) is (ABORT if open_for_certain else REBUILD)


def test_a_fatal_error_is_found_behind_a_system_error() -> None:
    fenced = error(KafkaError._FENCED, fatal=True)
    surfaced = SystemError("returned a result with an exception set")
    surfaced.__cause__ = KafkaException(fenced)
    assert kafka_error(surfaced) is fenced
    assert kafka_error(KafkaException(fenced)) is fenced


def test_a_system_error_about_something_else_is_not_ours() -> None:
    with pytest.raises(SystemError, match="something else"):
        kafka_error(SystemError("something else"))


def test_an_output_that_is_too_large_names_the_remedy() -> None:
    assert "max.message.bytes" in explain(error(KafkaError.MSG_SIZE_TOO_LARGE), "writing").remedy


def test_what_only_the_supervisor_can_cure_is_fatal_and_keeps_its_words() -> None:
    away = TransientError("the broker is away", remedy="wait")
    assert str(as_fatal(away)) == str(away)
    assert isinstance(as_fatal(away), FatalError)
    assert "rebuild" in str(StepError(REBUILD, away))
